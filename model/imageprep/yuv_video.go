package imageprep

import "image"

// videoYUV converts the 4:2:0 planes of a lossy WebP, which have video range (16 to 235), as
// libwebp does: chroma weighed 9:3:3:1 in two steps that round, then BT.601 in fixed point.
func videoYUV(dst *Picture, m *image.YCbCr) {
	w, h := dst.Width, dst.Height
	columns, rows := (w+1)/2, (h+1)/2
	u, v := make([]byte, w), make([]byte, w)
	for y := range h {
		near := y / 2
		far := near + 1
		if y%2 == 0 {
			far = near - 1
		}
		if far < 0 || far >= rows {
			far = near
		}
		near, far = near*m.CStride, far*m.CStride
		videoChroma(u, m.Cb[near:near+columns], m.Cb[far:far+columns])
		videoChroma(v, m.Cr[near:near+columns], m.Cr[far:far+columns])
		luma, out := m.Y[y*m.YStride:y*m.YStride+w], dst.row(y)
		for x, l := range luma {
			pixel := out[3*x : 3*x+3]
			pixel[0], pixel[1], pixel[2] = videoRGB(int32(l), int32(u[x]), int32(v[x]))
		}
	}
}

// videoChroma interpolates one row from the chroma row that it lies in and the next one beyond its
// edge. Pixel 2i+1 lies nearer to column i, pixel 2i+2 nearer to column i+1.
func videoChroma(dst, near, far []byte) {
	w := len(dst)
	edge := func(i int) byte { return byte((3*int(near[i]) + int(far[i]) + 2) >> 2) }
	dst[0] = edge(0)
	for i := 0; 2*i+2 < w; i++ {
		a, b, farA, farB := int(near[i]), int(near[i+1]), int(far[i]), int(far[i+1])
		sum := a + b + farA + farB + 8
		dst[2*i+1] = byte(((sum+2*(b+farA))>>3 + a) >> 1)
		dst[2*i+2] = byte(((sum+2*(a+farB))>>3 + b) >> 1)
	}
	if w%2 == 0 {
		dst[w-1] = edge(w/2 - 1)
	}
}

func videoRGB(y, u, v int32) (r, g, b byte) {
	high := func(a, k int32) int32 { return a * k >> 8 }
	luma := high(y, 19077)
	return clamp8((luma + high(v, 26149) - 14234) >> 6),
		clamp8((luma - high(u, 6419) - high(v, 13320) + 8708) >> 6),
		clamp8((luma + high(u, 33050) - 17685) >> 6)
}

func clamp8(v int32) byte {
	return byte(min(max(v, 0), 255))
}
