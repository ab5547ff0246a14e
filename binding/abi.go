package binding

import (
	"fmt"
	"math"
	"strings"
)

// The version of the C interface that this package is written against.
const (
	ABIMajor = 1
	ABIMinor = 2
)

// ABIVersion is a library's version of the C interface.
type ABIVersion uint32

func (v ABIVersion) Major() int     { return int(v >> 16) }
func (v ABIVersion) Minor() int     { return int(v & 0xffff) }
func (v ABIVersion) String() string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// Status is what every call of the C interface returns.
type Status int32

const (
	StatusOK              Status = 0
	StatusInvalidArgument Status = 1
	StatusUnsupported     Status = 2
	StatusOutOfMemory     Status = 3
	StatusBusy            Status = 4
	StatusCancelled       Status = 5
	StatusBadValue        Status = 6
	StatusDeviceLost      Status = 7
	StatusInternal        Status = 8
)

// DType is an element type of a view or a weight.
type DType int32

const (
	F32  DType = 1
	F16  DType = 2
	BF16 DType = 3
	I32  DType = 4
	U8   DType = 5
	I8   DType = 6
)

// Block types of GGUF files, for weights alone: see the header.
const (
	Q4_0   DType = 16
	Q4_1   DType = 17
	Q5_0   DType = 18
	Q5_1   DType = 19
	Q8_0   DType = 20
	Q2_K   DType = 21
	Q3_K   DType = 22
	Q4_K   DType = 23
	Q5_K   DType = 24
	Q6_K   DType = 25
	IQ4_NL DType = 26
	IQ4_XS DType = 27
)

// dtypes has each type's name, the elements of a block (1 for a plain type) and the block's bytes.
var dtypes = [...]struct {
	name            string
	elements, bytes int
}{
	F32: {"f32", 1, 4}, F16: {"f16", 1, 2}, BF16: {"bf16", 1, 2}, I32: {"i32", 1, 4}, U8: {"u8", 1, 1}, I8: {"i8", 1, 1},
	Q4_0: {"q4_0", 32, 18}, Q4_1: {"q4_1", 32, 20}, Q5_0: {"q5_0", 32, 22}, Q5_1: {"q5_1", 32, 24}, Q8_0: {"q8_0", 32, 34},
	Q2_K: {"q2_k", 256, 84}, Q3_K: {"q3_k", 256, 110}, Q4_K: {"q4_k", 256, 144}, Q5_K: {"q5_k", 256, 176}, Q6_K: {"q6_k", 256, 210},
	IQ4_NL: {"iq4_nl", 32, 18}, IQ4_XS: {"iq4_xs", 256, 136},
}

func (d DType) known() bool { return d > 0 && int(d) < len(dtypes) && dtypes[d].bytes > 0 }

// Size is the bytes of one element of a plain type; 0 for a block type, and for a type this package
// does not know.
func (d DType) Size() int {
	if !d.known() || d.Quantized() {
		return 0
	}
	return dtypes[d].bytes
}

// Quantized says whether it is a block type.
func (d DType) Quantized() bool { return d.known() && dtypes[d].elements > 1 }

// Block is the elements and bytes of the smallest piece of a row: one element of a plain type. Both
// are 0 for a type this package does not know.
func (d DType) Block() (elements, bytes int) {
	if !d.known() {
		return 0, 0
	}
	return dtypes[d].elements, dtypes[d].bytes
}

// RowBytes is the bytes of a row of cols elements, 0 where cols is no whole number of blocks or does
// not fit.
func (d DType) RowBytes(cols int) int {
	elements, bytes := d.Block()
	if elements == 0 || cols < 1 || cols%elements != 0 || cols/elements > math.MaxInt/bytes {
		return 0
	}
	return cols / elements * bytes
}

func (d DType) String() string {
	if !d.known() {
		return fmt.Sprintf("dtype(%d)", int32(d))
	}
	return dtypes[d].name
}

// TypeSet is a set of element types: bit n stands for type n.
type TypeSet uint64

func (s TypeSet) Has(d DType) bool { return d >= 0 && d < 64 && s>>d&1 != 0 }

func (s TypeSet) String() string {
	var names []string
	for d := DType(0); d < 64; d++ {
		if s.Has(d) {
			names = append(names, d.String())
		}
	}
	return strings.Join(names, " ")
}

// Activation is a function applied to each element, behind a linear layer or alone.
type Activation int32

const (
	ActNone      Activation = 0
	ActGELUTanh  Activation = 1 // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))
	ActGELUErf   Activation = 2 // 0.5 x (1 + erf(x / sqrt 2))
	ActGELUQuick Activation = 3 // x sigmoid(1.702 x)
	ActSiLU      Activation = 4 // x sigmoid(x)
)

// Fault is what a kernel found wrong and could not say through a return value.
type Fault int32

const (
	FaultNone      Fault = 0
	FaultTokenID   Fault = 1 // an id outside the table or the columns; index: row, value: id
	FaultRowIndex  Fault = 2 // a copy_rows index outside its side; index: row, value: index
	FaultPage      Fault = 3 // a page number outside the cache; index: sequence, value: page
	FaultPosition  Fault = 4 // a position past the page table or below zero; index: row or sequence
	FaultOffsets   Fault = 5 // ragged offsets that fall or leave the view; index: sequence
	FaultNotFinite Fault = 6 // NaN or infinity; index: row, value: column
	FaultSetting   Fault = 7 // a setting of sample or penalize out of range; index: row, value: its column
)

var faultTexts = [...]string{
	FaultNone: "no fault", FaultTokenID: "token id outside the table",
	FaultRowIndex: "row index out of range", FaultPage: "page outside the cache",
	FaultPosition: "position out of range", FaultOffsets: "offsets that fall or leave the view",
	FaultNotFinite: "NaN or infinity", FaultSetting: "setting out of range",
}

func (f Fault) String() string {
	if f < 0 || int(f) >= len(faultTexts) {
		return fmt.Sprintf("fault %d", int32(f))
	}
	return faultTexts[f]
}

// Capability bits of l3v_capabilities.flags.
const (
	capEmulated           = 1
	capCapture            = 2
	capBatchInvariant     = 4
	capBatchInvariantMode = 8
	capBlocksInHalf       = 16

	contextBatchInvariant = 1 // of l3v_context_params.flags
)

// symbol names a function of the C interface by its place in symbolNames.
type symbol int

const (
	symABIVersion symbol = iota
	symStructLayout
	symProbe
	symContextCreate
	symContextDestroy
	symLastError
	symCancel
	symSynchronize
	symCountersRead
	symMeasurePeak
	symDeviceStatusRead
	symBufferAlloc
	symBufferFree
	symBufferWrite
	symBufferRead
	symBufferCopy
	symWeightPlan
	symWeightCreate
	symWeightWriteRows
	symWeightReadRows
	symWeightReadPacked
	symWeightWritePacked
	symWeightFree
	symCaptureBegin
	symCaptureEnd
	symCaptureAbort
	symGraphReplay
	symGraphFree
	symEventCreate
	symEventRecord
	symEventElapsed
	symEventFree
	symLinear
	symEmbedding
	symLayerNorm
	symRMSNorm
	symPatchEmbed
	symAttention
	symCacheAppend
	symPagedAttention
	symRope
	symSwiGLU
	symActivation
	symCopyRows
	symSoftmax
	symTopK
	symAdvance
	symCheckFinite
	symPenalize
	symSample
	symLogProb
	symbolCount
)

var symbolNames = [symbolCount]string{
	symABIVersion:        "l3v_abi_version",
	symStructLayout:      "l3v_struct_layout",
	symProbe:             "l3v_probe",
	symContextCreate:     "l3v_context_create",
	symContextDestroy:    "l3v_context_destroy",
	symLastError:         "l3v_last_error",
	symCancel:            "l3v_cancel",
	symSynchronize:       "l3v_synchronize",
	symCountersRead:      "l3v_counters_read",
	symMeasurePeak:       "l3v_measure_peak",
	symDeviceStatusRead:  "l3v_device_status_read",
	symBufferAlloc:       "l3v_buffer_alloc",
	symBufferFree:        "l3v_buffer_free",
	symBufferWrite:       "l3v_buffer_write",
	symBufferRead:        "l3v_buffer_read",
	symBufferCopy:        "l3v_buffer_copy",
	symWeightPlan:        "l3v_weight_plan",
	symWeightCreate:      "l3v_weight_create",
	symWeightWriteRows:   "l3v_weight_write_rows",
	symWeightReadRows:    "l3v_weight_read_rows",
	symWeightReadPacked:  "l3v_weight_read_packed",
	symWeightWritePacked: "l3v_weight_write_packed",
	symWeightFree:        "l3v_weight_free",
	symCaptureBegin:      "l3v_capture_begin",
	symCaptureEnd:        "l3v_capture_end",
	symCaptureAbort:      "l3v_capture_abort",
	symGraphReplay:       "l3v_graph_replay",
	symGraphFree:         "l3v_graph_free",
	symEventCreate:       "l3v_event_create",
	symEventRecord:       "l3v_event_record",
	symEventElapsed:      "l3v_event_elapsed",
	symEventFree:         "l3v_event_free",
	symLinear:            "l3v_linear",
	symEmbedding:         "l3v_embedding",
	symLayerNorm:         "l3v_layer_norm",
	symRMSNorm:           "l3v_rms_norm",
	symPatchEmbed:        "l3v_patch_embed",
	symAttention:         "l3v_attention",
	symCacheAppend:       "l3v_cache_append",
	symPagedAttention:    "l3v_paged_attention",
	symRope:              "l3v_rope",
	symSwiGLU:            "l3v_swiglu",
	symActivation:        "l3v_activation",
	symCopyRows:          "l3v_copy_rows",
	symSoftmax:           "l3v_softmax",
	symTopK:              "l3v_topk",
	symAdvance:           "l3v_advance",
	symCheckFinite:       "l3v_check_finite",
	symPenalize:          "l3v_penalize",
	symSample:            "l3v_sample",
	symLogProb:           "l3v_log_prob",
}

// op is the name of a function in error texts: "linear", "buffer_read".
func (s symbol) op() string { return strings.TrimPrefix(symbolNames[s], "l3v_") }
