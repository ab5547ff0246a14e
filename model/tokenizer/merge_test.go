package tokenizer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The queue gives what looking for the lowest rank again and again gives.
func TestMergeEqualsPlainLoop(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rules := merges{rank: map[uint64]int32{}}
		ids := int32(3)
		for range 12 {
			rules.rank[pair(rng.Int32N(ids), rng.Int32N(ids))] = int32(len(rules.made))
			rules.made = append(rules.made, ids)
			ids++
		}
		var w word
		var plain []int32
		w.start()
		for range rng.IntN(40) {
			id := rng.Int32N(3)
			w.add(id)
			plain = append(plain, id)
		}
		for {
			best, at := int32(-1), -1
			for i := 0; i+1 < len(plain); i++ {
				if rank, ok := rules.rank[pair(plain[i], plain[i+1])]; ok && (best < 0 || rank < best) {
					best, at = rank, i
				}
			}
			if at < 0 {
				break
			}
			plain[at] = rules.made[best]
			plain = append(plain[:at+1], plain[at+2:]...)
		}
		require.Equal(t, plain, w.merge(&rules, nil))
	}
}
