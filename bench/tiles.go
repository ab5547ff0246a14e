package bench

// The rule of csrc/cuda/tiles.h by which a product of the CUDA backend takes its tile, in the same
// integers: TestTilesAreThoseOfTheBackend holds one against the other.

// tile is a TileChoice.
type tile struct{ rows, cols, depth, stages, splits int64 }

// tileSet is a TileList: the kernels of one form.
type tileSet struct {
	tiles     []tile
	invariant int
	products  int64 // multiply-adds of 2-byte elements a cycle and multiprocessor
}

var (
	sm90 = tileSet{[]tile{{128, 256, 64, 4, 1}, {128, 192, 64, 5, 1}, {128, 128, 64, 6, 1}, {128, 64, 64, 8, 1}, {64, 64, 64, 8, 1}}, 2, 2048}
	sm80 = tileSet{[]tile{{128, 128, 32, 4, 1}, {128, 64, 32, 4, 1}, {64, 64, 32, 4, 1}}, 0, 1024}
)

const (
	maxSplits, fewWaves                      = 16, 4
	cacheBytes, portBytes, memoryBytes       = 32, 64, 14 // a cycle and multiprocessor
	startCycles, nextKernelCycles            = 1000, 2400
	rowsWithoutTiles                         = 8 // kMostGemvRows of csrc/cuda/gemv.h: so few go row by row
	elementBytes                             = 2 // of bfloat16 in shared memory
	sumBytes                           int64 = 4
)

func ceil(n, each int64) int64 { return (n + each - 1) / each }

// count is the tiles of a product, with one for each split.
func (t tile) count(m, n int64) int64 { return ceil(m, t.rows) * ceil(n, t.cols) * t.splits }

// cycles is tile_cycles.
func (t tile) cycles(products, multiprocessors, m, n, k, bytesPerElement int64) int64 {
	steps := ceil(ceil(k, t.depth), t.splits)
	if ceil(ceil(k, t.depth), steps) != t.splits {
		return -1
	}
	blocks := t.count(m, n)
	draw := min(cacheBytes*multiprocessors/min(blocks, multiprocessors), portBytes)
	rows, cols := min(m, t.rows), min(n, t.cols)
	multiply := t.rows * t.cols * t.depth * bytesPerElement / (2 * products)
	read := (rows + cols) * t.depth * bytesPerElement / draw
	block := startCycles + steps*max(multiply, read) + rows*cols*sumBytes/draw
	work := ceil(blocks, multiprocessors) * block
	memory := ((m+n)*k*bytesPerElement + m*n*sumBytes) / (memoryBytes * multiprocessors)
	cycles := max(work, memory) + min(work, memory)/8
	if t.splits > 1 {
		cycles += nextKernelCycles + (t.splits+1)*m*n*sumBytes/(cacheBytes*multiprocessors)
	}
	return cycles
}

// choose is choose_tile.
func (s tileSet) choose(multiprocessors, m, n, k int64, batchInvariant bool, bytesPerElement int64) tile {
	best, least := s.tiles[s.invariant], int64(-1)
	if !batchInvariant {
		for _, t := range s.tiles {
			most := int64(1)
			if t.count(m, n) < fewWaves*multiprocessors {
				most = maxSplits
			}
			for t.splits = 1; t.splits <= most; t.splits++ {
				if c := t.cycles(s.products, multiprocessors, m, n, k, bytesPerElement); c >= 0 && (least < 0 || c < least) {
					best, least = t, c
				}
			}
		}
	}
	best.stages = best.stages * 2 / bytesPerElement
	return best
}
