package siglip

import (
	"math"

	"github.com/llama3v/llama3v/model/ops"
)

// resizedPositions makes the position table of another grid from the tower's own, as the
// reference does with interpolate_pos_encoding: torch's bicubic, a = -0.75, align_corners false,
// no antialias, edge rows repeated.
func resizedPositions(d *ops.Device, t *Tower, gridH, gridW int) (*ops.Tensor, error) {
	table, err := t.Position.ReadFloat32()
	if err != nil {
		return nil, err
	}
	grid, dim := t.Config.Grid(), t.Config.Dim
	table = table[t.Config.class()*dim:] // a class token's row belongs to no place
	return d.FromFloat32(resizePositions(table, grid, dim, gridH, gridW), gridH*gridW, dim)
}

// resizePositions takes table [grid, grid, dim] to [gridH, gridW, dim].
func resizePositions(table []float32, grid, dim, gridH, gridW int) []float32 {
	rows, cols := cubicTaps(grid, gridH), cubicTaps(grid, gridW)
	out := make([]float32, gridH*gridW*dim)
	sum := make([]float64, dim)
	for r, row := range rows {
		for c, col := range cols {
			clear(sum)
			for i := range 4 {
				for j := range 4 {
					weight := row.weight[i] * col.weight[j]
					source := table[(row.index[i]*grid+col.index[j])*dim:][:dim]
					for k, v := range source {
						sum[k] += weight * float64(v)
					}
				}
			}
			target := out[(r*gridW+c)*dim:][:dim]
			for k, v := range sum {
				target[k] = float32(v)
			}
		}
	}
	return out
}

type taps struct {
	index  [4]int
	weight [4]float64
}

// cubicTaps gives, for each of out positions, the four of in it is made of (Keys 1981, a = -0.75).
func cubicTaps(in, out int) []taps {
	const a = -0.75
	list := make([]taps, out)
	for i := range list {
		at := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
		floor := math.Floor(at)
		for k := range 4 {
			list[i].index[k] = min(max(int(floor)-1+k, 0), in-1)
			x := math.Abs(at - floor + 1 - float64(k))
			if x <= 1 {
				list[i].weight[k] = ((a+2)*x-(a+3))*x*x + 1
			} else {
				list[i].weight[k] = ((a*x-5*a)*x+8*a)*x - 4*a
			}
		}
	}
	return list
}
