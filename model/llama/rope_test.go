package llama

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// P36: values of the rule's banded scaling, worked out by hand from the config's numbers.
func TestFrequencies(t *testing.T) {
	plain := Config{HeadDim: 128, RopeTheta: 500000}
	scaled := plain
	scaled.Scaling = &Scaling{Factor: 8, LowFreq: 1, HighFreq: 4, Original: 8192}
	before, after := plain.Frequencies(), scaled.Frequencies()
	require.Len(t, after, 64)
	for j := range after {
		switch {
		case j <= 28:
			require.Equal(t, before[j], after[j], "pair %d: a high frequency stays", j)
		case j >= 35:
			require.Equal(t, before[j]/8, after[j], "pair %d: a low frequency is divided by the factor", j)
		default:
			require.Less(t, after[j], before[j], "pair %d lies in the band", j)
			require.Greater(t, after[j], before[j]/8, "pair %d lies in the band", j)
		}
	}
	require.InEpsilon(t, 0.00216657076, after[29], 1e-6)

	for _, tc := range []struct {
		name string
		c    Config
		want []float64
	}{
		{"P36: toy width 8", Config{HeadDim: 8, RopeTheta: 10000, Scaling: &Scaling{8, 1, 4, 64}},
			[]float64{1, 0.0130423, 0.00125, 0.000125}},
		{"no scaling", Config{HeadDim: 8, RopeTheta: 10000}, []float64{1, 0.1, 0.01, 0.001}},
		{"P38: the width is the head's, not the model's", Config{Dim: 20, Heads: 4, HeadDim: 4, RopeTheta: 100}, []float64{1, 0.1}},
		{"a factor of 1 changes nothing", Config{HeadDim: 8, RopeTheta: 10000, Scaling: &Scaling{1, 1, 4, 64}}, []float64{1, 0.1, 0.01, 0.001}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.c.Frequencies()
			require.Len(t, got, len(tc.want))
			for j := range got {
				require.InEpsilon(t, tc.want[j], got[j], 1e-5, "pair %d", j)
			}
		})
	}
}
