#include "layout.h"

#include <cstddef>
#include <cstring>

namespace l3v {
namespace {

// No hole before, between or behind the fields: none was left out of the table, and no compiler
// pads where another does not.
template <uint32_t N>
constexpr bool gapless(const Field (&fields)[N], size_t size) {
  uint32_t end = 0;
  for (const Field& f : fields) {
    if (f.offset != end) return false;
    end += f.size;
  }
  return end == size;
}

#define F(field) {#field, offsetof(S, field), sizeof(S::field)}
// The fields of one struct; S is the struct.
#define L3V_FIELDS(table, type, ...)                            \
  namespace table {                                             \
  using S = type;                                               \
  constexpr Field fields[] = {__VA_ARGS__};                     \
  static_assert(gapless(fields, sizeof(type)), "fields of " #type); \
  }

L3V_FIELDS(view, l3v_view, F(buffer), F(offset), F(row_stride), F(dtype), F(reserved0))
L3V_FIELDS(capabilities, l3v_capabilities, F(struct_size), F(flags), F(weight_types),
           F(activation_types), F(compute_types), F(memory_total), F(memory_free), F(max_head_dim),
           F(max_topk), F(cores), F(cancel_latency_ms), F(name), F(device))
L3V_FIELDS(context, l3v_context_params, F(struct_size), F(device), F(threads), F(flags),
           F(memory_limit), F(kernels))
L3V_FIELDS(counters, l3v_counters, F(struct_size), F(reserved0), F(entries), F(ops), F(captures),
           F(replays), F(allocations), F(objects), F(bytes), F(bytes_peak), F(workspace))
L3V_FIELDS(device_status, l3v_device_status, F(struct_size), F(fault), F(op), F(stage), F(index),
           F(value))
L3V_FIELDS(weight, l3v_weight_params, F(struct_size), F(dtype), F(rows), F(cols))
L3V_FIELDS(graph, l3v_graph_params, F(struct_size), F(reserved0), F(in_buffer), F(in_offset),
           F(in_bytes), F(out_buffer), F(out_offset), F(out_bytes))
L3V_FIELDS(linear, l3v_linear_params, F(struct_size), F(activation), F(weight), F(x), F(bias),
           F(residual), F(out), F(rows), F(compute), F(reserved0))
L3V_FIELDS(embedding, l3v_embedding_params, F(struct_size), F(reserved0), F(weight), F(ids), F(out),
           F(rows))
L3V_FIELDS(layer_norm, l3v_layer_norm_params, F(struct_size), F(eps), F(x), F(weight), F(bias),
           F(out), F(rows), F(cols))
L3V_FIELDS(rms_norm, l3v_rms_norm_params, F(struct_size), F(eps), F(x), F(weight), F(out), F(rows),
           F(cols))
L3V_FIELDS(patch_embed, l3v_patch_embed_params, F(struct_size), F(compute), F(weight), F(pixels),
           F(bias), F(position), F(out), F(images), F(channels), F(height), F(width), F(patch))
L3V_FIELDS(attention, l3v_attention_params, F(struct_size), F(scale), F(q), F(k), F(v), F(out),
           F(q_offsets), F(k_offsets), F(key_mask), F(q_rows), F(k_rows), F(sequences), F(heads),
           F(kv_heads), F(head_dim), F(reserved0))
L3V_FIELDS(cache_append, l3v_cache_append_params, F(struct_size), F(page_size), F(k), F(v),
           F(k_cache), F(v_cache), F(page_table), F(lengths), F(q_offsets), F(rows), F(sequences),
           F(pages), F(max_pages), F(cols))
L3V_FIELDS(paged_attention, l3v_paged_attention_params, F(struct_size), F(page_size), F(q), F(out),
           F(k_cache), F(v_cache), F(page_table), F(lengths), F(q_offsets), F(rows), F(sequences),
           F(pages), F(max_pages), F(heads), F(kv_heads), F(head_dim), F(scale))
L3V_FIELDS(rope, l3v_rope_params, F(struct_size), F(heads), F(x), F(positions), F(frequencies),
           F(rows), F(head_dim), F(reserved0))
L3V_FIELDS(swiglu, l3v_swiglu_params, F(struct_size), F(reserved0), F(gate), F(up), F(out), F(rows),
           F(cols))
L3V_FIELDS(activation, l3v_activation_params, F(struct_size), F(activation), F(x), F(out), F(rows),
           F(cols))
L3V_FIELDS(copy_rows, l3v_copy_rows_params, F(struct_size), F(reserved0), F(x), F(out), F(x_index),
           F(out_index), F(rows), F(cols), F(x_rows), F(out_rows))
L3V_FIELDS(softmax, l3v_softmax_params, F(struct_size), F(scale), F(x), F(out), F(rows), F(cols))
L3V_FIELDS(topk, l3v_topk_params, F(struct_size), F(k), F(x), F(ids), F(values), F(rows), F(cols))
L3V_FIELDS(advance, l3v_advance_params, F(struct_size), F(reserved0), F(next), F(ids), F(positions),
           F(lengths), F(sequences))
L3V_FIELDS(check_finite, l3v_check_finite_params, F(struct_size), F(stage), F(x), F(rows), F(cols))
L3V_FIELDS(penalize, l3v_penalize_params, F(struct_size), F(reserved0), F(x), F(counts), F(prompt),
           F(settings), F(rows), F(cols))
L3V_FIELDS(sample, l3v_sample_params, F(struct_size), F(reserved0), F(x), F(settings), F(positions),
           F(ids), F(counts), F(rows), F(cols))
L3V_FIELDS(log_prob, l3v_log_prob_params, F(struct_size), F(k), F(x), F(ids), F(out), F(rows), F(cols))

#undef L3V_FIELDS
#undef F

// By id, from L3V_STRUCT_VIEW = 1 on.
#define L3V_LAYOUT(table) \
  {#table, sizeof(table::S), table::fields, sizeof table::fields / sizeof(Field)}
constexpr StructLayout kLayouts[] = {
    L3V_LAYOUT(view),         L3V_LAYOUT(capabilities),    L3V_LAYOUT(context),
    L3V_LAYOUT(counters),     L3V_LAYOUT(device_status),   L3V_LAYOUT(weight),
    L3V_LAYOUT(graph),        L3V_LAYOUT(linear),          L3V_LAYOUT(embedding),
    L3V_LAYOUT(layer_norm),   L3V_LAYOUT(rms_norm),        L3V_LAYOUT(patch_embed),
    L3V_LAYOUT(attention),    L3V_LAYOUT(cache_append),    L3V_LAYOUT(paged_attention),
    L3V_LAYOUT(rope),         L3V_LAYOUT(swiglu),          L3V_LAYOUT(activation),
    L3V_LAYOUT(copy_rows),    L3V_LAYOUT(softmax),         L3V_LAYOUT(topk),
    L3V_LAYOUT(advance),      L3V_LAYOUT(check_finite),    L3V_LAYOUT(penalize),
    L3V_LAYOUT(sample),       L3V_LAYOUT(log_prob),
};
#undef L3V_LAYOUT
static_assert(sizeof kLayouts / sizeof kLayouts[0] == L3V_STRUCT_COUNT, "one layout a struct");

// What ABI 1.0 promised; a struct may only grow.
static_assert(sizeof(l3v_view) == 32 && sizeof(l3v_capabilities) == 256 &&
                  sizeof(l3v_context_params) == 56 && sizeof(l3v_counters) == 80 &&
                  sizeof(l3v_device_status) == 32 && sizeof(l3v_weight_params) == 24 &&
                  sizeof(l3v_graph_params) == 56 && sizeof(l3v_linear_params) == 160 &&
                  sizeof(l3v_embedding_params) == 88 && sizeof(l3v_layer_norm_params) == 152 &&
                  sizeof(l3v_rms_norm_params) == 120 && sizeof(l3v_patch_embed_params) == 184 &&
                  sizeof(l3v_attention_params) == 272 && sizeof(l3v_cache_append_params) == 272 &&
                  sizeof(l3v_paged_attention_params) == 280 && sizeof(l3v_rope_params) == 120 &&
                  sizeof(l3v_swiglu_params) == 120 && sizeof(l3v_activation_params) == 88 &&
                  sizeof(l3v_copy_rows_params) == 168 && sizeof(l3v_softmax_params) == 88 &&
                  sizeof(l3v_topk_params) == 120 && sizeof(l3v_advance_params) == 144 &&
                  sizeof(l3v_check_finite_params) == 56,
              "a struct of ABI 1.0 changed its size");
static_assert(sizeof(l3v_penalize_params) == 152 && sizeof(l3v_sample_params) == 184 &&
                  sizeof(l3v_log_prob_params) == 120,
              "a struct of ABI 1.1 changed its size");

// No struct will grow this large: a size beyond it is not a size.
constexpr uint32_t kMaxStruct = 4096;

// Checks the size that a caller's struct says it has, and the tail behind what is known.
Status check_size(const char* p, const StructLayout& layout) {
  if (p == nullptr) return fail(L3V_INVALID_ARGUMENT, "the %s struct is null", layout.name);
  uint32_t size;
  std::memcpy(&size, p, sizeof size);
  if (size < layout.size || size > kMaxStruct)
    return fail(L3V_INVALID_ARGUMENT, "struct_size is %u, and the %s struct has %u bytes", size,
                layout.name, layout.size);
  for (uint32_t i = layout.size; i < size; i++)
    if (p[i] != 0)
      return fail(L3V_UNSUPPORTED,
                  "byte %u of the %s struct is set, in a field that this library, which knows %u "
                  "bytes of it, does not have",
                  i, layout.name, layout.size);
  return {};
}

}  // namespace

const StructLayout* struct_layout(uint32_t id) {
  return id >= 1 && id <= L3V_STRUCT_COUNT ? &kLayouts[id - 1] : nullptr;
}

Status read_struct(const void* from, uint32_t id, void* to) {
  const StructLayout& layout = *struct_layout(id);
  const char* p = static_cast<const char*>(from);
  if (Status s = check_size(p, layout); !s.ok()) return s;
  for (uint32_t i = 0; i < layout.count; i++) {
    const Field& f = layout.fields[i];
    uint32_t value;
    if (std::strncmp(f.name, "reserved", 8) != 0) continue;
    std::memcpy(&value, p + f.offset, sizeof value);
    if (value != 0)
      return fail(L3V_INVALID_ARGUMENT, "%s is %u, and must be zero", f.name, value);
  }
  std::memcpy(to, p, layout.size);
  return {};
}

Status write_struct(const void* from, uint32_t id, void* to) {
  const StructLayout& layout = *struct_layout(id);
  char* p = static_cast<char*>(to);
  if (Status s = check_size(p, layout); !s.ok()) return s;
  constexpr uint32_t kBehindSize = sizeof(uint32_t);
  std::memcpy(p + kBehindSize, static_cast<const char*>(from) + kBehindSize, layout.size - kBehindSize);
  return {};
}

}  // namespace l3v

uint32_t l3v_abi_version(void) { return L3V_ABI_VERSION; }

l3v_status l3v_struct_layout(uint32_t id, uint32_t* size, uint32_t* offsets, uint32_t cap,
                             uint32_t* fields) {
  const l3v::StructLayout* layout = l3v::struct_layout(id);
  if (layout == nullptr || size == nullptr || offsets == nullptr || fields == nullptr ||
      cap < layout->count)
    return L3V_INVALID_ARGUMENT;
  *size = layout->size;
  *fields = layout->count;
  for (uint32_t i = 0; i < layout->count; i++) offsets[i] = layout->fields[i].offset;
  return L3V_OK;
}
