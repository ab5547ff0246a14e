// layout.h: the structs of the interface as this library compiled them, and how a caller's params
// are read.
#ifndef L3V_COMMON_LAYOUT_H
#define L3V_COMMON_LAYOUT_H

#include <cstdint>

#include "backend.h"

namespace l3v {

struct Field {
  const char* name;
  uint32_t offset, size;
};

struct StructLayout {
  const char* name;  // "linear"
  uint32_t size;
  const Field* fields;
  uint32_t count;
};

// Null: no such id.
const StructLayout* struct_layout(uint32_t id);

// The id of each struct that a caller passes by pointer.
template <class P>
struct StructId;
#define L3V_STRUCT_ID(type, id) \
  template <>                   \
  struct StructId<type> {       \
    static constexpr uint32_t value = id; \
  }
L3V_STRUCT_ID(l3v_capabilities, L3V_STRUCT_CAPABILITIES);
L3V_STRUCT_ID(l3v_context_params, L3V_STRUCT_CONTEXT);
L3V_STRUCT_ID(l3v_counters, L3V_STRUCT_COUNTERS);
L3V_STRUCT_ID(l3v_device_status, L3V_STRUCT_DEVICE_STATUS);
L3V_STRUCT_ID(l3v_weight_params, L3V_STRUCT_WEIGHT);
L3V_STRUCT_ID(l3v_graph_params, L3V_STRUCT_GRAPH);
L3V_STRUCT_ID(l3v_linear_params, L3V_STRUCT_LINEAR);
L3V_STRUCT_ID(l3v_embedding_params, L3V_STRUCT_EMBEDDING);
L3V_STRUCT_ID(l3v_layer_norm_params, L3V_STRUCT_LAYER_NORM);
L3V_STRUCT_ID(l3v_rms_norm_params, L3V_STRUCT_RMS_NORM);
L3V_STRUCT_ID(l3v_patch_embed_params, L3V_STRUCT_PATCH_EMBED);
L3V_STRUCT_ID(l3v_attention_params, L3V_STRUCT_ATTENTION);
L3V_STRUCT_ID(l3v_cache_append_params, L3V_STRUCT_CACHE_APPEND);
L3V_STRUCT_ID(l3v_paged_attention_params, L3V_STRUCT_PAGED_ATTENTION);
L3V_STRUCT_ID(l3v_rope_params, L3V_STRUCT_ROPE);
L3V_STRUCT_ID(l3v_swiglu_params, L3V_STRUCT_SWIGLU);
L3V_STRUCT_ID(l3v_activation_params, L3V_STRUCT_ACTIVATION);
L3V_STRUCT_ID(l3v_copy_rows_params, L3V_STRUCT_COPY_ROWS);
L3V_STRUCT_ID(l3v_softmax_params, L3V_STRUCT_SOFTMAX);
L3V_STRUCT_ID(l3v_topk_params, L3V_STRUCT_TOPK);
L3V_STRUCT_ID(l3v_advance_params, L3V_STRUCT_ADVANCE);
L3V_STRUCT_ID(l3v_check_finite_params, L3V_STRUCT_CHECK_FINITE);
L3V_STRUCT_ID(l3v_penalize_params, L3V_STRUCT_PENALIZE);
L3V_STRUCT_ID(l3v_sample_params, L3V_STRUCT_SAMPLE);
L3V_STRUCT_ID(l3v_log_prob_params, L3V_STRUCT_LOG_PROB);
#undef L3V_STRUCT_ID

// Copies the fields that this library knows from a caller's struct, whose own size decides whether
// that is enough and whether there is more than it knows (see Compatibility in llama3v.h).
Status read_struct(const void* from, uint32_t id, void* to);
// The other way: fills a struct that the caller gave the size of, which stays.
Status write_struct(const void* from, uint32_t id, void* to);

template <class P>
Status read_params(const P* from, P* to) {
  return read_struct(from, StructId<P>::value, to);
}
template <class P>
Status write_result(const P& from, P* to) {
  return write_struct(&from, StructId<P>::value, to);
}

}  // namespace l3v
#endif
