package binding

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/csrc"
)

// These tests hold this package against the text of llama3v.h, so that a change of the header
// that was not brought over does not compile into a silent misunderstanding.

func header(t testing.TB) string {
	t.Helper()
	text, err := fs.ReadFile(csrc.Files, "include/llama3v.h")
	require.NoError(t, err)
	return string(text)
}

var comments = regexp.MustCompile(`(?s)/\*.*?\*/`)

type headerStruct struct {
	id     int
	name   string // l3v_view
	fields []string
}

// headerStructs reads the structs of the header in the order of their L3V_STRUCT ids.
func headerStructs(t testing.TB) []headerStruct {
	t.Helper()
	text := comments.ReplaceAllString(header(t), "")
	bodies := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?s)typedef struct \w+ \{(.*?)\} (\w+);`).FindAllStringSubmatch(text, -1) {
		var fields []string
		for decl := range strings.SplitSeq(m[1], ";") {
			_, names, found := strings.Cut(strings.TrimSpace(decl), " ")
			if !found {
				continue
			}
			for name := range strings.SplitSeq(names, ",") {
				name, _, _ = strings.Cut(strings.TrimSpace(name), "[")
				fields = append(fields, name)
			}
		}
		bodies[m[2]] = fields
	}
	var structs []headerStruct
	for _, m := range regexp.MustCompile(`#define L3V_STRUCT_(\w+) (\d+)`).FindAllStringSubmatch(text, -1) {
		if m[1] == "COUNT" {
			continue
		}
		id, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		s := headerStruct{id: id, name: "l3v_" + strings.ToLower(m[1])}
		if bodies[s.name] == nil {
			s.name += "_params"
		}
		s.fields = bodies[s.name]
		require.NotEmpty(t, s.fields, "no struct for L3V_STRUCT_%s", m[1])
		structs = append(structs, s)
	}
	require.NotEmpty(t, structs)
	return structs
}

func TestStructsNameTheHeadersFields(t *testing.T) {
	structs := headerStructs(t)
	require.Len(t, layouts, len(structs))
	mirrors := []reflect.Type{
		reflect.TypeFor[View](), reflect.TypeFor[capabilities](), reflect.TypeFor[contextParams](),
		reflect.TypeFor[Counters](), reflect.TypeFor[DeviceStatus](), reflect.TypeFor[weightParams](),
		reflect.TypeFor[graphParams](), reflect.TypeFor[LinearParams](), reflect.TypeFor[EmbeddingParams](),
		reflect.TypeFor[LayerNormParams](), reflect.TypeFor[RMSNormParams](), reflect.TypeFor[PatchEmbedParams](),
		reflect.TypeFor[AttentionParams](), reflect.TypeFor[CacheAppendParams](), reflect.TypeFor[PagedAttentionParams](),
		reflect.TypeFor[RopeParams](), reflect.TypeFor[SwiGLUParams](), reflect.TypeFor[ActivationParams](),
		reflect.TypeFor[CopyRowsParams](), reflect.TypeFor[SoftmaxParams](), reflect.TypeFor[TopKParams](),
		reflect.TypeFor[AdvanceParams](), reflect.TypeFor[CheckFiniteParams](), reflect.TypeFor[PenalizeParams](),
		reflect.TypeFor[SampleParams](), reflect.TypeFor[LogProbParams](),
	}
	for i, s := range structs {
		require.EqualValues(t, s.id, layouts[i].id, s.name)
		require.Equal(t, s.name, "l3v_"+layouts[i].name)
		require.LessOrEqual(t, layouts[i].size, uintptr(blockResults), "%s does not fit the block", s.name)
		var got, want []string
		for f := range mirrors[i].NumField() {
			got = append(got, strings.ToLower(mirrors[i].Field(f).Name))
		}
		for _, f := range s.fields {
			want = append(want, strings.ReplaceAll(f, "_", ""))
		}
		require.Equal(t, want, got, s.name)
	}
}

func TestEveryFunctionOfTheHeaderIsBound(t *testing.T) {
	var sources strings.Builder
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		sources.Write(data)
	}
	quoted := strings.Join(strings.Fields(strings.ReplaceAll(sources.String(), "\n//", "\n")), " ")

	prototypes := regexp.MustCompile(`(?s)L3V_API ([^;]*?\b(l3v_\w+)\([^;]*\));`).FindAllStringSubmatch(header(t), -1)
	var names []string
	for _, p := range prototypes {
		names = append(names, p[2])
		prototype := strings.Join(strings.Fields(p[1]), " ") + ";"
		require.Contains(t, quoted, prototype, "the prototype stands above its binding")
		arguments := strings.Count(p[1], ",") + 1
		require.LessOrEqual(t, arguments, 8, "P84: %s has %d arguments", p[2], arguments)
	}
	require.ElementsMatch(t, names, symbolNames[:])
}

func TestConstantsEqualTheHeaders(t *testing.T) {
	constants := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define (L3V_\w+) (\d+)u?\b`).FindAllStringSubmatch(header(t), -1) {
		constants[m[1]] = m[2]
	}
	want := map[string]int{
		"L3V_ABI_MAJOR": ABIMajor, "L3V_ABI_MINOR": ABIMinor, "L3V_STRUCT_COUNT": len(layouts),
		"L3V_OK": int(StatusOK), "L3V_INVALID_ARGUMENT": int(StatusInvalidArgument),
		"L3V_UNSUPPORTED": int(StatusUnsupported), "L3V_OUT_OF_MEMORY": int(StatusOutOfMemory),
		"L3V_BUSY": int(StatusBusy), "L3V_CANCELLED": int(StatusCancelled), "L3V_BAD_VALUE": int(StatusBadValue),
		"L3V_DEVICE_LOST": int(StatusDeviceLost), "L3V_INTERNAL": int(StatusInternal),
		"L3V_F32": int(F32), "L3V_F16": int(F16), "L3V_BF16": int(BF16), "L3V_I32": int(I32), "L3V_U8": int(U8), "L3V_I8": int(I8),
		"L3V_ACT_NONE": int(ActNone), "L3V_ACT_GELU_TANH": int(ActGELUTanh), "L3V_ACT_GELU_ERF": int(ActGELUErf),
		"L3V_ACT_GELU_QUICK": int(ActGELUQuick), "L3V_ACT_SILU": int(ActSiLU),
		"L3V_CAP_EMULATED": capEmulated, "L3V_CAP_CAPTURE": capCapture, "L3V_CAP_BATCH_INVARIANT": capBatchInvariant,
		"L3V_CAP_BATCH_INVARIANT_MODE": capBatchInvariantMode, "L3V_CAP_BLOCKS_IN_HALF": capBlocksInHalf, "L3V_CONTEXT_BATCH_INVARIANT": contextBatchInvariant,
		"L3V_FAULT_NONE": int(FaultNone), "L3V_FAULT_TOKEN_ID": int(FaultTokenID), "L3V_FAULT_ROW_INDEX": int(FaultRowIndex),
		"L3V_FAULT_PAGE": int(FaultPage), "L3V_FAULT_POSITION": int(FaultPosition), "L3V_FAULT_OFFSETS": int(FaultOffsets),
		"L3V_PEAK_COMPUTE": int(PeakCompute), "L3V_PEAK_READ": int(PeakRead),
		"L3V_FAULT_NOT_FINITE": int(FaultNotFinite), "L3V_FAULT_SETTING": int(FaultSetting),
	}
	for d := Q4_0; d.known(); d++ {
		want["L3V_"+strings.ToUpper(d.String())] = int(d)
	}
	for name, value := range constants {
		if strings.HasPrefix(name, "L3V_STRUCT_") && name != "L3V_STRUCT_COUNT" {
			continue // held by TestStructsNameTheHeadersFields
		}
		require.Contains(t, want, name)
		require.Equal(t, value, fmt.Sprint(want[name]), name)
		delete(want, name)
	}
	require.Empty(t, want, "constants that the header does not have")
}
