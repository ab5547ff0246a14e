package vlm_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// edit is a change of a GGUF file's bytes that keeps its length.
type edit func(t *testing.T, file []byte)

// behind is what follows a text with its length in front, which must come once: a key or a tensor.
func behind(t *testing.T, file []byte, text string) []byte {
	t.Helper()
	entry := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	require.Equal(t, 1, bytes.Count(file, entry), text)
	return file[bytes.Index(file, entry)+len(entry):]
}

// without takes a key or tensor away, by giving it another name.
func without(name string) edit {
	return func(t *testing.T, file []byte) {
		behind(t, file, name)
		copy(file[bytes.Index(file, []byte(name)):], "x")
	}
}

// set gives a key another number of four bytes.
func set(key string, value uint32) edit {
	return func(t *testing.T, file []byte) { binary.LittleEndian.PutUint32(behind(t, file, key)[4:], value) }
}

func setFloat(key string, value float32) edit { return set(key, math.Float32bits(value)) }

// setText gives a key another text of the same length.
func setText(key, value string) edit {
	return func(t *testing.T, file []byte) {
		at := behind(t, file, key)[4:]
		require.Equal(t, uint64(len(value)), binary.LittleEndian.Uint64(at))
		copy(at[8:], value)
	}
}

// openEdited opens a golden file with changes.
func openEdited(t *testing.T, name string, edits ...edit) *weights.GGUF {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(ggufRoot(), "models", name))
	require.NoError(t, err)
	file = slices.Clone(file)
	for _, change := range edits {
		if change != nil {
			change(t, file)
		}
	}
	g, err := weights.OpenGGUF(fstest.MapFS{"m.gguf": {Data: file}}, "m.gguf")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

const tinyTied = "tiny-tied-rope8.F32.gguf"

func TestGGUFConfigFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		with edit
		is   error
		says string
	}{
		{"no architecture", without("general.architecture"), weights.ErrConfig, "general.architecture"},
		{"an architecture nobody has", setText("general.architecture", "frobn"), binding.ErrUnsupported, "frobn"},
		{"no width", without("llama.embedding_length"), weights.ErrConfig, "llama.embedding_length"},
		{"no width of the MLP", without("llama.feed_forward_length"), weights.ErrConfig, "llama.feed_forward_length"},
		{"no number of layers", without("llama.block_count"), weights.ErrConfig, "llama.block_count"},
		{"no number of heads", without("llama.attention.head_count"), weights.ErrConfig, "llama.attention.head_count"},
		{"no window", without("llama.context_length"), weights.ErrConfig, "llama.context_length"},
		{"P40: no epsilon", without("llama.attention.layer_norm_rms_epsilon"), weights.ErrConfig, "llama.attention.layer_norm_rms_epsilon"},
		{"an epsilon of NaN", setFloat("llama.attention.layer_norm_rms_epsilon", float32(math.NaN())), weights.ErrConfig, "llama.attention.layer_norm_rms_epsilon"},
		{"no layers", set("llama.block_count", 0), weights.ErrConfig, "llama.block_count"},
		{"2^32-1 layers", set("llama.block_count", math.MaxUint32), weights.ErrConfig, "llama.block_count"},
		{"heads that do not share keys evenly", set("llama.attention.head_count_kv", 3), weights.ErrConfig, "llama.attention.head_count"},
		{"values wider than keys", set("llama.attention.value_length", 32), weights.ErrConfig, "llama.attention.value_length"},
		{"P38: keys of another width than values and rotary positions", set("llama.attention.key_length", 15), weights.ErrConfig, "key_length 15"},
		{"heads that rotate in part", set("llama.rope.dimension_count", 8), weights.ErrConfig, "llama.rope.dimension_count"},
		{"a vocabulary that is not the table's", set("llama.vocab_size", 511), weights.ErrConfig, "llama.vocab_size"},
		{"an end beyond the vocabulary", set("tokenizer.ggml.eos_token_id", 512), weights.ErrConfig, "tokenizer.ggml.eos_token_id"},
		{"a start beyond the vocabulary", set("tokenizer.ggml.bos_token_id", 512), weights.ErrConfig, "tokenizer.ggml.bos_token_id"},
		{"no embedding table", without("token_embd.weight"), weights.ErrMissingTensor, "token_embd.weight"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, cp, err := vlm.ReadGGUF(openEdited(t, tinyTied, tc.with))
			require.Nil(t, c)
			require.Nil(t, cp)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "m.gguf")
		})
	}
}

// P36: the factors of rotary frequencies are a tensor, which is read and checked.
func TestGGUFRopeFactors(t *testing.T) {
	c, _, err := vlm.ReadGGUF(openEdited(t, tinyTied))
	require.NoError(t, err)
	require.Len(t, c.Text.Factors, 8)
	require.Equal(t, float32(1), c.Text.Factors[0], "the highest frequency stays")
	require.Equal(t, float32(8), c.Text.Factors[7], "the lowest is divided by the whole factor")
	require.True(t, c.Text.Tied, "P39: no output.weight")

	c, _, err = vlm.ReadGGUF(openEdited(t, tinyTied, without("rope_freqs.weight")))
	require.NoError(t, err)
	require.Empty(t, c.Text.Factors)
}

// P45: a start token where the file says so; without a word it is the splitting rule's custom.
func TestGGUFStartToken(t *testing.T) {
	const adds = "tokenizer.ggml.add_bos_token"
	off := func(t *testing.T, file []byte) { behind(t, file, adds)[4] = 0 }
	for _, tc := range []struct {
		name string
		with []edit
		want int32
	}{
		{"the file says yes", nil, 417},
		{"the file says no", []edit{off}, -1},
		{"no word, Llama 3's rule", []edit{without(adds)}, 417},
		{"yes, and no token to add", []edit{without("tokenizer.ggml.bos_token_id")}, -1},
	} {
		c, _, err := vlm.ReadGGUF(openEdited(t, tinyTied, tc.with...))
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, c.BOS, tc.name)
		require.Equal(t, []int32{421}, c.EOS, tc.name)
	}
}

func TestGGUFTokenizerFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		with edit
		is   error
		says string
	}{
		{"no tokenizer", without("tokenizer.ggml.model"), weights.ErrConfig, "tokenizer.ggml.model"},
		{"a tokenizer of another kind", setText("tokenizer.ggml.model", "bert"), weights.ErrConfig, "tokenizer.ggml.model"},
		{"P48: no splitting rule", without("tokenizer.ggml.pre"), weights.ErrConfig, "tokenizer.ggml.pre"},
		{"P48: a splitting rule nobody knows", setText("tokenizer.ggml.pre", "llama-xyz"), tokenizer.ErrUnsupported, "llama-xyz"},
		{"no tokens", without("tokenizer.ggml.tokens"), weights.ErrConfig, "tokenizer.ggml.tokens"},
		{"no types", without("tokenizer.ggml.token_type"), weights.ErrConfig, "tokenizer.ggml.token_type"},
		{"no merges", without("tokenizer.ggml.merges"), weights.ErrConfig, "tokenizer.ggml.merges"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := openEdited(t, tinyTied, tc.with)
			c, _, err := vlm.ReadGGUF(g)
			require.NoError(t, err)
			_, err = vlm.ReadGGUFTokenizer(g, c)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "m.gguf")
		})
	}
}

func TestGGUFEyeFaults(t *testing.T) {
	const llava, idefics = "tiny-llava.mmproj-feature2.gguf", "tiny-idefics3.mmproj-F32.gguf"
	for _, tc := range []struct {
		name, file string
		with       edit
		rules      vlm.EyeRules
		is         error
		says       string
	}{
		{"more layers than there are", llava, nil, vlm.EyeRules{Layers: 3}, weights.ErrConfig, "clip.vision.block_count"},
		{"a number of layers for Idefics3, which uses all", idefics, nil, vlm.EyeRules{Layers: 1}, binding.ErrUnsupported, "idefics3"},
		{"no width", llava, without("clip.vision.embedding_length"), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.embedding_length"},
		{"no patch size", llava, without("clip.vision.patch_size"), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.patch_size"},
		{"no epsilon", llava, without("clip.vision.attention.layer_norm_epsilon"), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.attention.layer_norm_epsilon"},
		{"no mean", llava, without("clip.vision.image_mean"), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.image_mean"},
		{"patches larger than the picture", llava, set("clip.vision.patch_size", 25), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.patch_size"},
		{"heads that do not divide the width", llava, set("clip.vision.attention.head_count", 5), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.embedding_length"},
		{"a projector nobody knows", llava, setText("clip.projector_type", "ldp"), vlm.EyeRules{}, binding.ErrUnsupported, "ldp"},
		{"no projector's weights", llava, without("mm.0.weight"), vlm.EyeRules{}, binding.ErrUnsupported, "mm.0"},
		{"no scale factor", idefics, without("clip.vision.projector.scale_factor"), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.projector.scale_factor"},
		{"squares that do not fill the grid", idefics, set("clip.vision.projector.scale_factor", 4), vlm.EyeRules{}, weights.ErrConfig, "clip.vision.projector.scale_factor"},
		{"a text model", tinyTied, nil, vlm.EyeRules{}, binding.ErrUnsupported, "llama"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, err := vlm.ReadGGUF(openEdited(t, tinyTied))
			require.NoError(t, err)
			_, _, err = vlm.ReadEyeGGUF(openEdited(t, tc.file, tc.with), c, tc.rules)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "m.gguf")
		})
	}
}
