package reference

import "github.com/llama3v/llama3v/model/ops"

// Linear is act(x Wᵀ + bias) + residual: x [rows, in], w [out, in]; bias [out] and residual
// [rows, out] may be nil.
func Linear(x, w, bias, residual []float32, rows, in, out int, act ops.Activation) []float64 {
	y := make([]float64, rows*out)
	for r := range rows {
		for o := range out {
			sum := dot(x[r*in:][:in], w[o*in:][:in])
			if bias != nil {
				sum += float64(bias[o])
			}
			sum = Activation(sum, act)
			if residual != nil {
				sum += float64(residual[r*out+o])
			}
			y[r*out+o] = sum
		}
	}
	return y
}

func dot(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum
}

// PatchEmbed cuts pictures into squares and projects each: pixels
// [images, channels, height, width], w [dim, channels*patch*patch], bias [dim] and position
// [grid, dim] or nil.
func PatchEmbed(pixels, w, bias, position []float32, images, channels, height, width, patch, dim int) []float64 {
	gridH, gridW := height/patch, width/patch
	flat := make([]float32, 0, channels*patch*patch)
	var out []float64
	for image := range images {
		for gy := range gridH {
			for gx := range gridW {
				flat = flat[:0]
				for c := range channels {
					for y := range patch {
						at := ((image*channels+c)*height+gy*patch+y)*width + gx*patch
						flat = append(flat, pixels[at:at+patch]...)
					}
				}
				row := Linear(flat, w, bias, nil, 1, len(flat), dim, ops.None)
				if position != nil {
					for i := range row {
						row[i] += float64(position[(gy*gridW+gx)*dim+i])
					}
				}
				out = append(out, row...)
			}
		}
	}
	return out
}
