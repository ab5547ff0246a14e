package mutants

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rewrite is what becomes of the body of a kernel, without what is around it.
func rewrite(t *testing.T, body string) (string, []string) {
	t.Helper()
	const before, after = "__global__ void k(Args a) {\n", "\n}\n"
	text, found, err := Rewrite("k.cu", before+body+after, 1)
	require.NoError(t, err)
	var mutations []string
	for i, m := range found {
		require.Equal(t, i+1, m.Number)
		mutations = append(mutations, m.Mutation)
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, before), after)
	return strings.ReplaceAll(text, "::l3v_mutant::", ""), mutations
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		why, body, want string
		mutations       []string
	}{
		{"a barrier", "__syncthreads();", "(is(1) ? (void)0 : (void)(__syncthreads()));", []string{"drop __syncthreads()"}},
		{"a wait waits for less", "cp_async_wait<N - 1>();",
			"(is(1) ? (void)0 : is(2) ? (void)(cp_async_wait<(N - 1) + 1>()) : (void)(cp_async_wait<N - 1>()));",
			[]string{"drop cp_async_wait<N - 1>()", "cp_async_wait<N - 1>(), one fewer"}},
		{"behind if, with else", "if (a) f(); else g();",
			"if (force(1, 2, static_cast<bool>(a))) (is(3) ? (void)0 : (void)(f())); else (is(4) ? (void)0 : (void)(g()));",
			[]string{"a: true", "a: false", "drop f()", "drop g()"}},
		{"a loop", "for (int i = 0; i < n; i += s) x[i]++;",
			"for (int i = shift(1, 0, 0); i < shift(2, 3, n); i += shift(4, 0, s)) x[shift(5, 0, i)]++;",
			[]string{"begin 0: +1", "i < n: +1", "i < n: -1", "step s: +1", "index i: +1"}},
		{"parts of a condition", "return a && (b || !c) ? 1 : 2;",
			"return force(1, 2, static_cast<bool>(a)) && (force(3, 4, static_cast<bool>(b)) || force(5, 6, static_cast<bool>(!c))) ? 1 : 2;",
			[]string{"a: true", "a: false", "b: true", "b: false", "!c: true", "!c: false"}},
		{"the precedence of a bound", "y = a + 1 <= b << 2;",
			"y = force(1, 2, static_cast<bool>(a + 1 <= shift(3, 4, b << 2)));",
			[]string{"a + 1 <= b << 2: true", "a + 1 <= b << 2: false", "a + 1 <= b << 2: +1", "a + 1 <= b << 2: -1"}},
		{"the other stage", "use(ring + stage * kBytes); stage = next;",
			"(is(1) ? (void)0 : (void)(use(ring + other(2, stage) * kBytes))); stage = next;", []string{"drop use(ring + stage * kBytes)", "the other stage"}},
		{"a shuffle", "v += __shfl_xor_sync(~0u, v, lanes);", "v += __shfl_xor_sync(other(1, ~0u), v, other(2, lanes));",
			[]string{"__shfl_xor_sync(~0u, v, lanes): a lane off the mask", "lane lanes: another"}},
		{"min for max", "m = fmaxf(m, v);", "m = swap_fmaxf(1, m, v);", []string{"fmaxf(m, v): fminf"}},
		{"a lambda's body", "const auto f = [&](int i) { return x[i]; };", "const auto f = [&](int i) { return x[shift(1, 0, i)]; };", []string{"index i: +1"}},
		{"templates and sizes are constants", "float x[kN < 2 ? 1 : 2], y = static_cast<float>(n); static_assert(a < b); constexpr int k = a < b;",
			"float x[kN < 2 ? 1 : 2], y = static_cast<float>(n); static_assert(a < b); constexpr int k = a < b;", nil},
		{"a declaration is no call", "Stage s(a); Ring<4> r(b); L3V_SHARED(Shared, t); memcpy(&f, &g, sizeof f);", "Stage s(a); Ring<4> r(b); L3V_SHARED(Shared, t); memcpy(&f, &g, sizeof f);", nil},
		{"if constexpr", "if constexpr (a < b) f();", "if constexpr (a < b) (is(1) ? (void)0 : (void)(f()));", []string{"drop f()"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			got, mutations := rewrite(t, c.body)
			require.Equal(t, c.want, got)
			require.Equal(t, c.mutations, mutations)
		})
	}
}

// TestWhere: code of the host, constants of the compiler and what nvcc alone sees have no mutants.
func TestWhere(t *testing.T) {
	const text = `
#define M(a) if (a < 1) f()
inline int host(int n) { return n < 4 ? n : 4; }
__host__ __device__ constexpr int both(int n) { return n < 4 ? n : 4; }
#if defined(__CUDACC__)
__device__ int card(int n) { return n < 4 ? n : 4; }
#else
template <class T>
__device__ T emulated(T n) { return n < 4 ? n : 4; }
#endif
struct S {
  __device__ bool in(int c) const { return c < 2; }
};
__device__ int declared(int n);
`
	_, found, err := Rewrite("k.cuh", text, 1)
	require.NoError(t, err)
	lines := map[int]int{}
	for _, m := range found {
		lines[m.Line]++
	}
	require.Equal(t, map[int]int{9: 4, 12: 4}, lines)
}

func TestExceptions(t *testing.T) {
	list, err := ParseExceptions("# note\n\nk.cu: a < b | c: d\n    a < b: +1\n    it is\n    so\n\nk.cu: other\n    drop f()\n    why\n")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "it is so", list[0].Reason)
	one := Mutant{Number: 1, File: "k.cu", Text: "a < b | c: d", Mutation: "a < b: +1"}
	two := Mutant{Number: 2, File: "k.cu", Text: "a < b | c: d", Mutation: "a < b: -1"}
	allowed, rest, stale := Excuse([]Mutant{one, two}, list)
	require.Equal(t, []Mutant{one}, allowed)
	require.Equal(t, []Mutant{two}, rest)
	require.Len(t, stale, 1)
	require.Equal(t, "drop f()", stale[0].Mutation)
	list, err = ParseExceptions("k.cu\n    1\n    not judged\n")
	require.NoError(t, err)
	allowed, rest, stale = Excuse([]Mutant{one, two}, list)
	require.Equal(t, []Mutant{one}, allowed)
	require.Equal(t, []Mutant{two}, rest)
	require.Empty(t, stale)
	list, err = ParseExceptions("k.cu\n    3\n    not judged\n")
	require.NoError(t, err)
	_, rest, stale = Excuse([]Mutant{one, two}, list)
	require.Empty(t, rest)
	require.Equal(t, "k.cu: 2 of 3 survive", stale[0].String())
	for _, bad := range []string{"no colon\n", "k.cu\n    many\n    why\n", "    of nothing\n", "k.cu: a\n    b\n", "k.cu: a\nk.cu: b\n"} {
		_, err := ParseExceptions(bad)
		require.Error(t, err, bad)
	}
}
