package llama3v_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/tokenizer"
)

const memoryModel = "L3V_TEST_MEMORY_MODEL"

// TestMemory opens models of about 1 GB, each in a process of its own, asks them something, and holds
// what that took against the plan that was known before: the device's own count within five percent,
// and the process's resident memory with 64 MiB of staging on top. The weights are zeros, holes in
// the file that take no room on the disk.
func TestMemory(t *testing.T) {
	if path := os.Getenv(memoryModel); path != "" {
		measureMemory(t, path)
		return
	}
	if testing.Short() {
		t.Skip("reads 2 GB")
	}
	folder := t.TempDir()
	writeHollowSafetensors(t, filepath.Join(folder, "bf16"), 8)
	writeHollowGGUF(t, filepath.Join(folder, "q8_0.gguf"), 16)
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, name := range []string{"bf16", "q8_0.gguf"} {
			t.Run(name, func(t *testing.T) {
				self, err := os.Executable()
				require.NoError(t, err)
				child := exec.Command(self, "-test.run=^TestMemory$", "-test.v")
				child.Env = append(os.Environ(), memoryModel+"="+filepath.Join(folder, name))
				out, err := child.CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), "planned ", "%s", out)
				for _, line := range strings.Split(string(out), "\n") {
					if strings.Contains(line, "planned ") {
						t.Log(strings.TrimSpace(line))
					}
				}
			})
		}
	})
}

func measureMemory(t *testing.T, path string) {
	tok, err := tokenizer.Load(os.DirFS(demo))
	require.NoError(t, err)
	before := resident(t, "VmRSS")
	ctx := context.Background()
	m, err := llama3v.Open(ctx, path, llama3v.WithTokenizer(tok), llama3v.WithContext(1024))
	require.NoError(t, err)
	defer m.Close()
	_, err = m.Ask(ctx, strings.Repeat("the cat sat ", 100), llama3v.Raw(), llama3v.MaxTokens(4))
	require.NoError(t, err)
	counters, err := m.Counters()
	require.NoError(t, err)
	plan, grown := m.Plan().Total(), resident(t, "VmHWM")-before
	t.Logf("planned %d (%v), the device's peak %d, the process grew by %d at most", plan, m.Plan(), counters.BytesPeak, grown)
	require.Greater(t, plan, int64(9e8), "the model is too small to say much")
	require.InEpsilon(t, counters.BytesPeak, plan, 0.05)
	require.LessOrEqual(t, counters.BytesPeak, plan)
	require.LessOrEqual(t, grown, plan+64<<20)
}

// resident is a line of /proc/self/status in bytes: VmRSS now, VmHWM at its most.
func resident(t *testing.T, key string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			var kib int64
			_, err := fmt.Sscanf(value, "%d kB", &kib)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatalf("/proc/self/status has no %s", key)
	return 0
}

// The sizes of the models, but for the number of layers.
const (
	hollowVocab, hollowDim, hollowHidden = 2048, 2048, 8192
	hollowHeads, hollowKV, hollowHead    = 32, 8, 64
)

// hollowTensor is [rows, cols], or [cols] with rows 0; the names are those of safetensors and GGUF.
type hollowTensor struct {
	name, gguf string
	rows, cols int
}

func hollowTensors(layers int) []hollowTensor {
	list := []hollowTensor{
		{"model.embed_tokens", "token_embd", hollowVocab, hollowDim},
		{"model.norm", "output_norm", 0, hollowDim},
	}
	for i := range layers {
		hf, gg := fmt.Sprintf("model.layers.%d.", i), fmt.Sprintf("blk.%d.", i)
		list = append(list,
			hollowTensor{hf + "input_layernorm", gg + "attn_norm", 0, hollowDim},
			hollowTensor{hf + "self_attn.q_proj", gg + "attn_q", hollowHeads * hollowHead, hollowDim},
			hollowTensor{hf + "self_attn.k_proj", gg + "attn_k", hollowKV * hollowHead, hollowDim},
			hollowTensor{hf + "self_attn.v_proj", gg + "attn_v", hollowKV * hollowHead, hollowDim},
			hollowTensor{hf + "self_attn.o_proj", gg + "attn_output", hollowDim, hollowHeads * hollowHead},
			hollowTensor{hf + "post_attention_layernorm", gg + "ffn_norm", 0, hollowDim},
			hollowTensor{hf + "mlp.gate_proj", gg + "ffn_gate", hollowHidden, hollowDim},
			hollowTensor{hf + "mlp.up_proj", gg + "ffn_up", hollowHidden, hollowDim},
			hollowTensor{hf + "mlp.down_proj", gg + "ffn_down", hollowDim, hollowHidden},
		)
	}
	return list
}

// writeHollow writes a file that begins with header and goes on with so many zeros.
func writeHollow(t *testing.T, path string, header []byte, zeros int64) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, header, 0o644))
	require.NoError(t, os.Truncate(path, int64(len(header))+zeros))
}

func writeHollowSafetensors(t *testing.T, folder string, layers int) {
	t.Helper()
	require.NoError(t, os.Mkdir(folder, 0o755))
	config, err := json.Marshal(map[string]any{
		"model_type": "llama", "vocab_size": hollowVocab, "hidden_size": hollowDim, "intermediate_size": hollowHidden,
		"num_hidden_layers": layers, "num_attention_heads": hollowHeads, "num_key_value_heads": hollowKV, "head_dim": hollowHead,
		"hidden_act": "silu", "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
		"tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "config.json"), config, 0o644))

	entries, end := map[string]any{}, int64(0)
	for _, tensor := range hollowTensors(layers) {
		shape := []int{tensor.rows, tensor.cols}
		if tensor.rows == 0 {
			shape = shape[1:]
		}
		next := end + int64(max(tensor.rows, 1))*int64(tensor.cols)*2
		entries[tensor.name+".weight"] = map[string]any{"dtype": "BF16", "shape": shape, "data_offsets": []int64{end, next}}
		end = next
	}
	list, err := json.Marshal(entries)
	require.NoError(t, err)
	header := binary.LittleEndian.AppendUint64(nil, uint64(len(list)))
	writeHollow(t, filepath.Join(folder, "model.safetensors"), append(header, list...), end)
}

func writeHollowGGUF(t *testing.T, path string, layers int) {
	t.Helper()
	const u32, f32, text, typeF32, typeQ8_0 = 4, 6, 8, 0, 8
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if s, ok := v.(string); ok {
				put := binary.LittleEndian.AppendUint64(nil, uint64(len(s)))
				b.Write(append(put, s...))
				continue
			}
			require.NoError(t, binary.Write(&b, binary.LittleEndian, v))
		}
	}
	tensors := hollowTensors(layers)
	b.WriteString("GGUF")
	put(uint32(3), uint64(len(tensors)), uint64(9))
	put("general.architecture", uint32(text), "llama")
	put("llama.attention.layer_norm_rms_epsilon", uint32(f32), float32(1e-5))
	for key, value := range map[string]int{
		"context_length": 1024, "embedding_length": hollowDim, "feed_forward_length": hollowHidden, "block_count": layers,
		"attention.head_count": hollowHeads, "attention.head_count_kv": hollowKV, "attention.key_length": hollowHead,
	} {
		put("llama."+key, uint32(u32), uint32(value))
	}
	end := int64(0)
	for _, tensor := range tensors {
		put(tensor.gguf + ".weight")
		if tensor.rows == 0 {
			put(uint32(1), uint64(tensor.cols), uint32(typeF32), uint64(end))
			end += int64(tensor.cols) * 4
			continue
		}
		put(uint32(2), uint64(tensor.cols), uint64(tensor.rows), uint32(typeQ8_0), uint64(end))
		end += int64(tensor.rows) * int64(tensor.cols) / 32 * 34
	}
	b.Write(make([]byte, (32-b.Len()%32)%32))
	writeHollow(t, path, b.Bytes(), end)
}
