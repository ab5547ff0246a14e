package binding

import (
	"fmt"
	"reflect"
	"strings"
)

// A layout is how Go lays out one struct of the C interface.
type layout struct {
	id      uint32 // L3V_STRUCT_...
	name    string // without the prefix: "view", "linear_params"
	size    uintptr
	offsets []uintptr // of each field in order; a view counts as one
}

func layoutOf[T any](id uint32, name string) layout {
	t := reflect.TypeFor[T]()
	l := layout{id: id, name: name, size: t.Size()}
	for i := range t.NumField() {
		l.offsets = append(l.offsets, t.Field(i).Offset)
	}
	return l
}

// layouts lists every struct of the header, in the order of their ids.
var layouts = []layout{
	layoutOf[View](1, "view"),
	layoutOf[capabilities](2, "capabilities"),
	layoutOf[contextParams](3, "context_params"),
	layoutOf[Counters](4, "counters"),
	layoutOf[DeviceStatus](5, "device_status"),
	layoutOf[weightParams](6, "weight_params"),
	layoutOf[graphParams](7, "graph_params"),
	layoutOf[LinearParams](8, "linear_params"),
	layoutOf[EmbeddingParams](9, "embedding_params"),
	layoutOf[LayerNormParams](10, "layer_norm_params"),
	layoutOf[RMSNormParams](11, "rms_norm_params"),
	layoutOf[PatchEmbedParams](12, "patch_embed_params"),
	layoutOf[AttentionParams](13, "attention_params"),
	layoutOf[CacheAppendParams](14, "cache_append_params"),
	layoutOf[PagedAttentionParams](15, "paged_attention_params"),
	layoutOf[RopeParams](16, "rope_params"),
	layoutOf[SwiGLUParams](17, "swiglu_params"),
	layoutOf[ActivationParams](18, "activation_params"),
	layoutOf[CopyRowsParams](19, "copy_rows_params"),
	layoutOf[SoftmaxParams](20, "softmax_params"),
	layoutOf[TopKParams](21, "topk_params"),
	layoutOf[AdvanceParams](22, "advance_params"),
	layoutOf[CheckFiniteParams](23, "check_finite_params"),
	layoutOf[PenalizeParams](24, "penalize_params"),
	layoutOf[SampleParams](25, "sample_params"),
	layoutOf[LogProbParams](26, "log_prob_params"),
}

// differs says how the library's layout of the struct parts from ours, "" when it does not. Of
// the same minor version both are equal; a newer library may have more fields behind ours.
func (l layout) differs(size uint32, offsets []uint32, newer bool) string {
	fields := len(l.offsets)
	switch {
	case newer && (uintptr(size) < l.size || len(offsets) < fields):
		return fmt.Sprintf("l3v_%s has %d bytes and %d fields, at least %d and %d expected", l.name, size, len(offsets), l.size, fields)
	case !newer && (uintptr(size) != l.size || len(offsets) != fields):
		return fmt.Sprintf("l3v_%s has %d bytes and %d fields, %d and %d expected", l.name, size, len(offsets), l.size, fields)
	}
	for i, want := range l.offsets {
		if uintptr(offsets[i]) != want {
			return fmt.Sprintf("field %d of l3v_%s lies at %d, %d expected", i, l.name, offsets[i], want)
		}
	}
	return ""
}

// op is the op whose params the struct is.
func (l layout) op() string { return strings.TrimSuffix(l.name, "_params") }
