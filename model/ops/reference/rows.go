package reference

import "slices"

// TopK is the columns of the k largest values of each row of cols, largest first, the lower column
// first among equals.
func TopK(x []float32, cols, k int) []int32 {
	var ids []int32
	for at := 0; at < len(x); at += cols {
		row := x[at : at+cols]
		order := make([]int32, cols)
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortStableFunc(order, func(a, b int32) int {
			switch {
			case row[a] > row[b]:
				return -1
			case row[a] < row[b]:
				return 1
			}
			return 0
		})
		ids = append(ids, order[:k]...)
	}
	return ids
}

// Gather is out[i] = x[index[i]], rows of cols values; an index of -1 leaves row i of out.
func Gather(out, x []float32, index []int32, cols int) {
	for i, at := range index {
		if at >= 0 {
			copy(out[i*cols:][:cols], x[int(at)*cols:])
		}
	}
}

// Scatter is out[index[i]] = x[i], rows of cols values; an index of -1 skips row i of x.
func Scatter(out, x []float32, index []int32, cols int) {
	for i, at := range index {
		if at >= 0 {
			copy(out[int(at)*cols:][:cols], x[i*cols:])
		}
	}
}

// CacheRow is where position t of a sequence with that page table lies in a paged cache.
func CacheRow(pages []int32, pageSize, t int) int {
	return int(pages[t/pageSize])*pageSize + t%pageSize
}
