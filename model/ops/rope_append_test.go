package ops_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// A library may run a cache_append with the rope right before it. The cache has the same bits as when
// something stands between the two, and each keeps its own faults.
func TestRoPEAndCacheAppend(t *testing.T) {
	const rows, heads, kvHeads, headDim, pageSize = 5, 3, 1, 8, 4
	const q, kv = heads * headDim, kvHeads * headDim
	qkv := reference.Uniform(1, rows*(q+2*kv))
	frequencies := reference.Uniform(2, headDim/2)
	eachForm(t, func(t *testing.T, d *device) {
		x := d.zeros(rows, q+2*kv)
		k, v := x.ColRange(q, kv), x.ColRange(q+kv, kv)
		kCache, vCache := d.zeros(2*pageSize, kv), d.zeros(2*pageSize, kv)
		positions, f := d.ints(3, 4, 5, 6, 7), d.floats(frequencies, 1, headDim/2)
		paged := func(length int32) ops.Paged {
			return ops.Paged{PageSize: pageSize, PageTable: d.ints(1, 0).Reshape(1, 2), Lengths: d.ints(length), QOffsets: d.ints(0, rows)}
		}
		fill := func() { require.NoError(t, x.WriteFloat32(0, qkv)) }
		other := d.zeros(1, 1)

		p := paged(7)
		rotated := func(s *ops.Stream) { s.RoPE(x.ColRange(0, q+kv), positions, f, headDim) }
		fill()
		d.run(func(s *ops.Stream) {
			rotated(s)
			s.Activate(other, other, ops.SiLU)
			s.CacheAppend(kCache, vCache, k, v, p)
		})
		want := [][]float32{d.read(x), d.read(kCache), d.read(vCache)}
		require.NotEqual(t, qkv, want[0])

		together := map[string]int{"rope_append_kernel": 1, "rope_kernel": 0, "cache_append_kernel": 0}
		if d.kernels == "plain" {
			together = map[string]int{"rope_append_kernel": 0, "rope_kernel": 1, "cache_append_kernel": 1}
		}
		require.NoError(t, kCache.WriteFloat32(0, make([]float32, 2*pageSize*kv)))
		require.NoError(t, vCache.WriteFloat32(0, make([]float32, 2*pageSize*kv)))
		fill()
		before, err := d.Counters()
		require.NoError(t, err)
		d.launches(together, func() {
			d.run(func(s *ops.Stream) { rotated(s); s.CacheAppend(kCache, vCache, k, v, p) })
		})
		after, err := d.Counters()
		require.NoError(t, err)
		require.EqualValues(t, 2, after.Ops-before.Ops)
		for i, t2 := range []*ops.Tensor{x, kCache, vCache} {
			same(t, want[i], d.read(t2), "tensor %d", i)
		}

		s := d.Stream()
		graph, err := s.Capture(nil, nil, func() { rotated(s); s.CacheAppend(kCache, vCache, k, v, p) })
		require.NoError(t, err)
		defer graph.Free()
		fill()
		d.launches(together, func() {
			_, err := graph.Replay(1, nil, nil)
			require.NoError(t, err)
		})
		same(t, want[1], d.read(kCache), "of a graph")

		// A row that rope leaves as it is, and an append past the page table.
		require.NoError(t, positions.WriteInt32(0, []int32{3, 4, -2, 6, 7}))
		fault := fails(t, s, func() { rotated(s); s.CacheAppend(kCache, vCache, k, v, p) })
		require.Equal(t, "rope", fault.OpName())
		require.Equal(t, []int64{2, -2}, []int64{fault.Index, fault.Value})
		require.NoError(t, positions.WriteInt32(0, []int32{3, 4, 5, 6, 7}))
		long := paged(20)
		fault = fails(t, s, func() { rotated(s); s.CacheAppend(kCache, vCache, k, v, long) })
		require.Equal(t, "cache_append", fault.OpName())

		// Keys of which some columns were not turned: two kernels.
		d.launches(map[string]int{"rope_append_kernel": 0}, func() {
			d.run(func(s *ops.Stream) {
				s.RoPE(x.ColRange(0, q), positions, f, headDim)
				s.CacheAppend(kCache, vCache, k, v, p)
			})
		})
	})
}

func fails(t *testing.T, s *ops.Stream, queue func()) *binding.FaultError {
	t.Helper()
	queue()
	var fault *binding.FaultError
	require.ErrorAs(t, s.Wait(), &fault)
	return fault
}
