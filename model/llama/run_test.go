package llama

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
)

var toySizes = Sizes{Positions: 192, Context: 96, PrefillRows: 64}

func runner(t testing.TB, dev *ops.Device, m *golden.Model, z Sizes) *Runner {
	t.Helper()
	r, err := NewRunner(dev, decoder(t, dev, m), ops.F32, z)
	require.NoError(t, err)
	return r
}

func reserve(t testing.TB, r *Runner, positions int) *Sequence {
	t.Helper()
	seq, err := r.Cache.Reserve(context.Background(), positions)
	require.NoError(t, err)
	return seq
}

// text gives n ids of the toy's vocabulary.
func text(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * i * 7 % 53)
	}
	return ids
}

// outcome is a prompt's last logits, and ids and logits of what greedy decoding adds.
type outcome struct {
	ids    []int32
	logits []float32
}

// run prefills a prompt in pieces of at most piece ids and decodes n tokens.
func run(t testing.TB, r *Runner, s *ops.Stream, ids []int32, rows []float32, piece, n int) outcome {
	t.Helper()
	seq := reserve(t, r, len(ids)+n)
	defer seq.Close()
	return proceed(t, r, s, seq, ids, rows, piece, n)
}

func proceed(t testing.TB, r *Runner, s *ops.Stream, seq *Sequence, ids []int32, rows []float32, piece, n int) outcome {
	t.Helper()
	var next int32
	var err error
	for len(ids) > 0 {
		now := ids[:min(piece, len(ids))]
		ids = ids[len(now):]
		slots := 0
		for _, id := range now {
			if id == Slot {
				slots++
			}
		}
		cut := slots * r.Decoder.Config.Dim
		next, err = r.Prefill(s, seq, now, rows[:cut], len(ids) == 0)
		require.NoError(t, err)
		rows = rows[cut:]
	}
	o := outcome{ids: []int32{next}}
	o.logits, err = r.Logits(false)
	require.NoError(t, err)
	for range n {
		next, err = r.Decode(seq, next)
		require.NoError(t, err)
		o.ids = append(o.ids, next)
		l, err := r.Logits(true)
		require.NoError(t, err)
		o.logits = append(o.logits, l...)
	}
	return o
}

func score(t testing.TB, dev *ops.Device, r *Runner, ids []int32, rows []float32) []float32 {
	t.Helper()
	seq := reserve(t, r, len(ids))
	defer seq.Close()
	logits, err := r.Score(dev, dev.Stream(), seq, ids, rows)
	require.NoError(t, err)
	require.Equal(t, len(ids), seq.Length)
	return logits
}

// P36, P38, P39, P40: the decoder against plain float64 loops, for configs that a fixed number in the
// code would get wrong.
func TestLogitsEqualThePlainReference(t *testing.T) {
	change := func(old, new string) string {
		require.Contains(t, toyConfig, old)
		return strings.Replace(toyConfig, old, new, 1)
	}
	for _, tc := range []struct{ name, config string }{
		{"P38: an explicit head width", toyConfig},
		{"P38: a head width of hidden/heads", change(`"head_dim":8,`, ``)},
		{"P39: the embedding table is the output layer", change(`"vocab_size"`, `"tie_word_embeddings":true,"vocab_size"`)},
		{"P40: an epsilon that counts", change(`1e-5`, `0.3`)},
		{"one key head for all", change(`"num_key_value_heads":2`, `"num_key_value_heads":1`)},
		{"as many key heads as query heads", change(`"num_key_value_heads":2`, `"num_key_value_heads":4`)},
		{"another rotary base", change(`"rope_theta":10000`, `"rope_theta":50`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if strings.Contains(tc.name, "hidden/heads") {
				tc.config = strings.Replace(tc.config, `"hidden_size":20`, `"hidden_size":24`, 1)
			}
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				m := toy(t, tc.config)
				r := runner(t, dev, m, toySizes)
				ids := text(21)
				ids[3], ids[4], ids[9] = Slot, Slot, Slot
				rows := golden.Uniform(3, 3*r.Decoder.Config.Dim, 0, 2)
				nmse := golden.NMSE(score(t, dev, r, ids, rows), reference(t, m, ids, rows))
				t.Logf("normalised squared error %.1e", nmse)
				require.LessOrEqual(t, nmse, 1e-10)
			})
		})
	}
}

// P39: a tied decoder stores the table once, and a leftover lm_head is not an unknown tensor.
func TestTiedTableIsStoredOnce(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	m := toy(t, strings.Replace(toyConfig, `{`, `{"tie_word_embeddings":true,`, 1))
	d := decoder(t, dev, m)
	require.Same(t, d.Embed, d.Head.Weight)
	m.Random(t, 0, 1, "lm_head.weight", 53, 20)
	d = decoder(t, dev, m)
	require.Same(t, d.Embed, d.Head.Weight)
}

// P34, P31: the pieces that a prompt is cut into do not change a bit, wherever they cut a picture.
func TestPrefillInPiecesGivesTheSameBits(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		r, s := runner(t, dev, m, toySizes), dev.Stream()
		ids := text(50)
		for i := 7; i < 27; i++ { // one picture of 20 rows, and one of 5 that begins right behind a token
			ids[i] = Slot
		}
		for i := 28; i < 33; i++ {
			ids[i] = Slot
		}
		rows := golden.Uniform(4, 25*r.Decoder.Config.Dim, 0, 2)
		want := run(t, r, s, ids, rows, 50, 8)
		for _, piece := range []int{1, 2, 3, 7, 8, 15, 16, 17, 31, 49} {
			require.Equal(t, want, run(t, r, s, ids, rows, piece, 8), "pieces of %d", piece)
		}
		all := score(t, dev, r, ids, rows)
		vocab := r.Decoder.Config.Vocab
		require.Equal(t, want.logits[:vocab], all[49*vocab:], "the last row of a scored prompt")

		other := append([]float32(nil), rows...)
		other[0] += 0.5
		require.NotEqual(t, want.logits, run(t, r, s, ids, other, 50, 8).logits, "the rows matter")
	})
}

// Decoding a text token by token and prefilling it give the same bits.
func TestDecodeEqualsPrefill(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		ids, vocab := text(40), r.Decoder.Config.Vocab
		want := score(t, dev, r, ids, nil)
		seq := reserve(t, r, 40)
		defer seq.Close()
		_, err := r.Prefill(s, seq, ids[:3], nil, false)
		require.NoError(t, err)
		for i := 3; i < 40; i++ {
			next, err := r.Decode(seq, ids[i])
			require.NoError(t, err)
			got, err := r.Logits(true)
			require.NoError(t, err)
			require.Equal(t, want[i*vocab:][:vocab], got, "position %d", i)
			require.EqualValues(t, argMax(got), next)
		}
	})
}

func argMax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// The threads of a device do not change a bit.
func TestThreadsDoNotChangeABit(t *testing.T) {
	var want outcome
	for _, threads := range []int{1, 2, 3} {
		dev := testdevice.CPU(t, binding.ContextOptions{Threads: threads})
		got := run(t, runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream(), text(40), nil, 40, 8)
		if threads == 1 {
			want = got
		}
		require.Equal(t, want, got, "%d threads", threads)
	}
}

// P52: each sequence has its own positions and its own cache: two that take turns equal two alone.
func TestSequencesThatTakeTurns(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		long, short := text(10), []int32{9, 8, 7, 6, 5}
		wantLong, wantShort := run(t, r, s, long, nil, 10, 20), run(t, r, s, short, nil, 10, 20)

		a, b := reserve(t, r, 40), reserve(t, r, 40)
		defer a.Close()
		defer b.Close()
		gotLong, gotShort := proceed(t, r, s, a, long, nil, 4, 0), proceed(t, r, s, b, short, nil, 5, 0)
		for range 20 {
			for _, turn := range []struct {
				seq *Sequence
				o   *outcome
			}{{a, &gotLong}, {b, &gotShort}} {
				next, err := r.Decode(turn.seq, turn.o.ids[len(turn.o.ids)-1])
				require.NoError(t, err)
				turn.o.ids = append(turn.o.ids, next)
				l, err := r.Logits(true)
				require.NoError(t, err)
				turn.o.logits = append(turn.o.logits, l...)
			}
		}
		require.Equal(t, wantLong, gotLong)
		require.Equal(t, wantShort, gotShort)
	})
}

// P56, P57: what a sequence left in its pages does not reach the next one that gets them, and the
// same request gives the same answer again.
func TestPagesThatWereUsedBefore(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		z := toySizes
		z.Positions = 64
		r, s := runner(t, dev, toy(t, toyConfig), z), dev.Stream()
		ids := append([]int32{1, Slot, Slot}, text(20)...)
		red, blue := golden.Uniform(5, 40, 0, 2), golden.Uniform(6, 40, 0, 2)
		cold := map[string]outcome{"red": run(t, r, s, ids, red, 64, 5)}
		cold["blue"] = run(t, runner(t, dev, toy(t, toyConfig), z), s, ids, blue, 64, 5)
		require.NotEqual(t, cold["red"].logits, cold["blue"].logits)
		for range 3 {
			require.Equal(t, cold["blue"], run(t, r, s, ids, blue, 64, 5), "same ids, another picture")
			require.Equal(t, cold["red"], run(t, r, s, ids, red, 64, 5))
		}
	})
}

// P35, P54, P33, P31 and sizes: each is a typed error, moves nothing, and P97: the next good request
// equals a clean run.
func TestStepsThatAreRefused(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		dim := r.Decoder.Config.Dim
		want := run(t, r, s, text(30), nil, 64, 4)
		prefill := func(positions int, ids []int32, rows []float32) func(t *testing.T) error {
			return func(t *testing.T) error {
				seq := reserve(t, r, positions)
				defer seq.Close()
				_, err := r.Prefill(s, seq, ids, rows, true)
				require.Zero(t, seq.Length, "a step that failed does not count")
				return err
			}
		}
		with := func(id int32) []int32 { return append(text(5), id, 1) }
		for _, tc := range []struct {
			name string
			do   func(t *testing.T) error
			want error
			text string
		}{
			{"P35: a prompt longer than what was reserved", prefill(16, text(17), nil), ErrContextFull, "17 positions, 16 reserved"},
			{"a step of no ids", prefill(16, nil, nil), ops.ErrShape, "0 rows"},
			{"a step of more ids than a step has", prefill(96, text(65), nil), ops.ErrShape, "65 rows"},
			{"a sequence of more pages than the runner's context", prefill(112, text(5), nil), ops.ErrShape, "7 pages"},
			{"P31: a slot without a row", prefill(16, with(Slot), nil), ops.ErrShape, "0 picture values for 1 slots of 20"},
			{"P31: a row without a slot", prefill(16, text(5), make([]float32, dim)), ops.ErrShape, "20 picture values for 0 slots"},
			{"P31: two rows for one slot", prefill(16, with(Slot), make([]float32, 2*dim)), ops.ErrShape, "40 picture values for 1 slots"},
			{"half a row", prefill(16, with(Slot), make([]float32, dim/2)), ops.ErrShape, "10 picture values"},
			{"P33: an id below the table", prefill(16, with(-200), nil), binding.ErrBadValue, "-200"},
			{"P33: the first id behind the table", prefill(16, with(53), nil), binding.ErrBadValue, "53"},
			{"P33: an id far outside", prefill(16, with(128256), nil), binding.ErrBadValue, "128256"},
			{"P33: 2^31 as 32 bits hold it", prefill(16, with(math.MinInt32), nil), binding.ErrBadValue, "-2147483648"},
			{"P33: the largest id", prefill(16, with(math.MaxInt32), nil), binding.ErrBadValue, "2147483647"},
			{"a sequence that was closed", func(t *testing.T) error {
				seq := reserve(t, r, 16)
				seq.Close()
				_, err := r.Prefill(s, seq, text(3), nil, true)
				return err
			}, ErrContextFull, "0 reserved"},
			{"P54: decoding past what was reserved", func(t *testing.T) error {
				seq := reserve(t, r, 16)
				defer seq.Close()
				_, err := r.Prefill(s, seq, text(15), nil, true)
				require.NoError(t, err)
				_, err = r.Decode(seq, 1)
				require.NoError(t, err, "position 15 is the last")
				_, err = r.Decode(seq, 1)
				require.Equal(t, 16, seq.Length)
				return err
			}, ErrContextFull, "17 positions, 16 reserved"},
			{"P33: decoding an id outside the table", func(t *testing.T) error {
				seq := reserve(t, r, 16)
				defer seq.Close()
				_, err := r.Prefill(s, seq, text(3), nil, true)
				require.NoError(t, err)
				_, err = r.Decode(seq, 53)
				require.Equal(t, 3, seq.Length)
				return err
			}, binding.ErrBadValue, "53"},
			{"decoding a slot, which would read the row before", func(t *testing.T) error {
				seq := reserve(t, r, 16)
				defer seq.Close()
				_, err := r.Prefill(s, seq, text(3), nil, true)
				require.NoError(t, err)
				_, err = r.Decode(seq, Slot)
				return err
			}, ops.ErrShape, "slot"},
			{"more than the whole cache", func(t *testing.T) error {
				_, err := r.Cache.Reserve(context.Background(), 193)
				return err
			}, ErrContextFull, "193 positions needed, the cache has 192"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				err := tc.do(t)
				require.ErrorIs(t, err, tc.want)
				require.ErrorContains(t, err, tc.text)
				if tc.want == binding.ErrBadValue {
					var fault *binding.FaultError
					require.ErrorAs(t, err, &fault)
					require.Equal(t, "embedding", fault.OpName())
				}
				require.NoError(t, s.Err())
				require.Equal(t, want, run(t, r, s, text(30), nil, 64, 4), "P97")
				requireAllFree(t, r.Cache)
			})
		}
	})
}

// A sequence goes on after a failure as if the failed step had not been.
func TestSequenceGoesOnAfterARefusedStep(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		want := run(t, r, s, text(30), nil, 10, 4)
		seq := reserve(t, r, 34)
		defer seq.Close()
		_, err := r.Prefill(s, seq, text(30)[:20], nil, false)
		require.NoError(t, err)
		_, err = r.Prefill(s, seq, []int32{1, 2, 99}, nil, true)
		require.ErrorIs(t, err, binding.ErrBadValue)
		require.Equal(t, want, proceed(t, r, s, seq, text(30)[20:], nil, 10, 4))
	})
}

// P54 and the window's edge: a sequence may fill its context to the last position.
func TestContextToItsLastPosition(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), Sizes{Positions: 64, Context: 64, PrefillRows: 7}), dev.Stream()
		require.Equal(t, 64, r.Context())
		require.Equal(t, 7, r.PrefillRows())
		o := run(t, r, s, text(50), nil, 7, 14)
		require.Len(t, o.ids, 15)
		all := append(text(50), o.ids[:14]...)
		want := run(t, runner(t, dev, toy(t, toyConfig), toySizes), s, all, nil, 64, 0)
		require.Equal(t, want.ids[0], o.ids[14])
	})
}

// One capture for the runner's life; a decoded token is at most two calls into the library, and no
// allocation on either side.
func TestDecodeIsOneReplay(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), Sizes{Positions: 512, Context: 512, PrefillRows: 8}), dev.Stream()
		seq := reserve(t, r, 512)
		defer seq.Close()
		next, err := r.Prefill(s, seq, text(5), nil, true)
		require.NoError(t, err)
		next, err = r.Decode(seq, next)
		require.NoError(t, err)

		const tokens = 100
		before, err := dev.Counters()
		require.NoError(t, err)
		for range tokens {
			next, err = r.Decode(seq, next)
			require.NoError(t, err)
		}
		after, err := dev.Counters()
		require.NoError(t, err)
		require.EqualValues(t, 3, after.Captures, "one for each way of choosing")
		require.EqualValues(t, tokens, after.Replays-before.Replays)
		require.LessOrEqual(t, after.Entries-before.Entries, int64(2*tokens))
		require.Equal(t, before.Allocations, after.Allocations)
		require.Equal(t, before.Objects, after.Objects)

		require.Zero(t, testing.AllocsPerRun(100, func() {
			if next, err = r.Decode(seq, next); err != nil {
				t.Fatal(err)
			}
		}), "allocations of Go per token")
	})
}

// The plan is what a runner allocates.
func TestRunnerBytes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		d := decoder(t, dev, toy(t, toyConfig))
		for _, z := range []Sizes{toySizes, {Positions: 1, Context: 1, PrefillRows: 1}, {Positions: 1000, Context: 77, PrefillRows: 13}} {
			t.Run(fmt.Sprint(z), func(t *testing.T) {
				before, err := dev.Counters()
				require.NoError(t, err)
				cache, err := NewCache(dev, d.Config, z.Positions)
				require.NoError(t, err)
				require.GreaterOrEqual(t, cache.Positions(), z.Positions)
				require.Less(t, cache.Positions(), z.Positions+PageSize)
				after, err := dev.Counters()
				require.NoError(t, err)
				require.Equal(t, CacheBytes(d.Config, z.Positions, ops.F32), after.Bytes-before.Bytes)

				before = after
				_, err = NewStep(dev, d.Config, z.PrefillRows, z.maxPages())
				require.NoError(t, err)
				_, err = NewStep(dev, d.Config, 1, z.maxPages())
				require.NoError(t, err)
				_, err = newChooser(dev, d.Config.Vocab)
				require.NoError(t, err)
				after, err = dev.Counters()
				require.NoError(t, err)
				require.Equal(t, RunnerBytes(d.Config, z, ops.F32)-CacheBytes(d.Config, z.Positions, ops.F32), after.Bytes-before.Bytes)
			})
		}
	})
}

// A NaN among the weights is found at the logits, and names the stage.
func TestNotFiniteLogits(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		bad := m.Values(t, "model.norm.weight")
		bad[3] = float32(math.NaN())
		m.Put(t, "model.norm.weight", m.Tensors["model.norm.weight"].DType, bad, 20)
		r, s := runner(t, dev, m, toySizes), dev.Stream()
		seq := reserve(t, r, 16)
		defer seq.Close()
		_, err := r.Prefill(s, seq, text(3), nil, true)
		var fault *binding.FaultError
		require.ErrorAs(t, err, &fault)
		require.True(t, fault.NotFinite())
		require.EqualValues(t, StageLogits, fault.Stage)
		_, err = r.Prefill(s, seq, text(3), nil, false)
		require.NoError(t, err)
		_, err = r.Decode(seq, 1)
		require.ErrorAs(t, err, &fault)
		require.EqualValues(t, StageLogits, fault.Stage, "the captured step checks too")
	})
}

// A cancelled prefill leaves the sequence where it was.
func TestCancelledPrefill(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		want := run(t, r, s, text(30), nil, 64, 4)
		seq := reserve(t, r, 34)
		defer seq.Close()
		s.SetTap(func(name string, _, _ int, _ []float32) {
			if name == "hidden.1" {
				dev.Cancel()
			}
		})
		_, err := r.Prefill(s, seq, text(30), nil, true)
		s.SetTap(nil)
		require.ErrorIs(t, err, binding.ErrCancelled)
		require.Zero(t, seq.Length)
		require.Equal(t, want, proceed(t, r, s, seq, text(30), nil, 64, 4))
	})
}
