package weights

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"
)

const testdata = "../../testdata"

// Every safetensors file in the repository's test data opens, reads to its end, and is written
// again byte for byte: the reference's writer made them.
func TestGoldenFiles(t *testing.T) {
	var files []string
	for _, dir := range []string{"demo", "golden/models"} {
		require.NoError(t, fs.WalkDir(os.DirFS(testdata), dir, func(p string, d fs.DirEntry, err error) error {
			if path.Ext(p) == ".safetensors" {
				files = append(files, p)
			}
			return err
		}))
	}
	require.GreaterOrEqual(t, len(files), 22)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			s, err := OpenSafetensorsFile(os.DirFS(testdata), file)
			require.NoError(t, err)
			defer s.Close()
			requireSane(t, s)

			var tensors []Tensor
			for _, name := range s.Names() {
				info, err := s.Tensor(name)
				require.NoError(t, err)
				data, err := readAll(s, name, DefaultBlock)
				require.NoError(t, err)
				tensors = append(tensors, Tensor{name, info.DType, info.Shape, data})
			}
			var again bytes.Buffer
			require.NoError(t, Write(&again, tensors, s.Metadata(file)))
			original, err := os.ReadFile(path.Join(testdata, file))
			require.NoError(t, err)
			require.True(t, bytes.Equal(original, again.Bytes()), "written again, the bytes differ")
		})
	}
}

func TestGoldenFolders(t *testing.T) {
	for _, c := range []struct {
		dir     string
		tensors int
		files   int
		name    string
		dtype   DType
		shape   []int
	}{
		{"demo", 188, 1, "language_model.model.embed_tokens.weight", BF16, []int{1588, 192}},
		{"golden/models/siglip_full", 104, 1, "logit_scale", F16, []int{1}},
		{"golden/models/siglip_vision_16", 48, 1, "vision_model.embeddings.patch_embedding.weight", BF16, []int{128, 3, 16, 16}},
		{"golden/models/llama3_gqa", 30, 3, "lm_head.weight", F16, []int{607, 384}},
		{"golden/models/llama31_rope", 20, 1, "model.layers.0.self_attn.q_proj.weight", BF16, []int{400, 240}},
		{"golden/models/llama32_rope", 20, 1, "model.norm.weight", BF16, nil},
		{"golden/models/llama3v_sa2", 112, 1, "projector.in_proj.weight", F32, nil},
		{"golden/models/llama3v_sa2_attn", 74, 1, "projector.blocks.1.attn.out_proj.bias", F32, nil},
	} {
		t.Run(c.dir, func(t *testing.T) {
			cp, err := Open(must(fs.Sub(os.DirFS(testdata), c.dir)))
			require.NoError(t, err)
			defer cp.Close()
			require.Len(t, cp.Names(), c.tensors)
			require.Len(t, cp.Files(), c.files)
			info, err := cp.Tensor(c.name)
			require.NoError(t, err)
			require.Equal(t, c.dtype, info.DType)
			if c.shape != nil {
				require.Equal(t, c.shape, info.Shape)
			}
			values, err := ReadFloat32(cp, c.name)
			require.NoError(t, err)
			require.Len(t, values, int(info.Bytes)/(c.dtype.Bits()/8))
			require.Contains(t, cp.Files(), info.File)
		})
	}
}

// The reading model code will do: the config says the sizes, the binder compares them with the file.
func TestBindDemoProjector(t *testing.T) {
	fsys := must(fs.Sub(os.DirFS(testdata), "demo"))
	config, err := ReadConfig(fsys, "config.json")
	require.NoError(t, err)
	projector := config.Object("projector_config")
	width := projector.Int("width", 1, 1<<16)
	hidden := projector.Int("intermediate_size", 0, 1<<16)
	blocks := projector.Int("num_blocks", 1, 64)
	visionDim := config.Object("vision_config").Int("hidden_size", 1, 1<<16)
	textDim := config.Object("text_config").Int("hidden_size", 1, 1<<16)
	require.NoError(t, config.Err())

	cp, err := Open(fsys)
	require.NoError(t, err)
	defer cp.Close()
	b := NewBinder(cp)
	p := b.Sub("projector")
	linear := func(at *Binder, name string, rows, cols int) {
		at.Expect(name+".weight", rows, cols)
		at.Expect(name+".bias", rows)
	}
	linear(p, "in_proj", width, visionDim)
	for _, n := range []string{"0", "1"}[:blocks] {
		block := p.Sub("blocks." + n)
		for _, norm := range []string{"norm1", "norm2"} {
			block.Expect(norm+".weight", width)
			block.Expect(norm+".bias", width)
		}
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			linear(block.Sub("attn"), name, width, width)
		}
		linear(block.Sub("mlp"), "fc1", hidden, width)
		linear(block.Sub("mlp"), "fc2", width, hidden)
	}
	norm := p.Expect("norm.weight", width)
	p.Expect("norm.bias", width)
	linear(p, "out_proj", textDim, width)
	b.Ignore("vision_tower.*", "language_model.*")
	report, err := b.Check()
	require.NoError(t, err)
	require.Empty(t, report.Unexpected)
	values, err := norm.Float32()
	require.NoError(t, err)
	require.Len(t, values, width)
}
