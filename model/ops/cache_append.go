package ops

import "github.com/llama3v/llama3v/binding"

// Paged says where the positions of each sequence lie in a paged cache, and which rows of a step
// belong to it: position t of sequence i is row PageTable[i][t/PageSize]*PageSize + t%PageSize.
type Paged struct {
	PageSize  int     // a power of two
	PageTable *Tensor // [sequences, maxPages] I32
	Lengths   *Tensor // [sequences, 1] I32: positions once the step's rows are in; 0 is an idle place
	QOffsets  *Tensor // [sequences+1, 1] I32: sequence i owns rows off[i] to off[i+1]-1, its newest
}

// CacheAppend queues the copy of a step's keys and values into one layer's cache.
//
//	k, v            [rows, cols], cols = kvHeads*headDim
//	kCache, vCache  [pages*pageSize, cols]
//
// k and v are of one type, the caches of one type, which rounds what it does not have. Rows of idle
// sequences are not stored. Faults: binding.FaultPage, FaultPosition, FaultOffsets.
func (s *Stream) CacheAppend(kCache, vCache, k, v *Tensor, p Paged) {
	const op = "cache_append"
	rows, cols := k.Rows(), k.Cols()
	if !s.paged(op, kCache, vCache, cols, p) || !s.fits(op, value("k", k, rows, cols), value("v", v, rows, cols)) {
		return
	}
	s.queue(s.context().CacheAppend(&binding.CacheAppendParams{
		PageSize: int32(p.PageSize), K: k.abi(), V: v.abi(), KCache: kCache.abi(), VCache: vCache.abi(),
		PageTable: p.PageTable.abi(), Lengths: p.Lengths.abi(), QOffsets: p.QOffsets.abi(),
		Rows: int64(rows), Sequences: int64(p.PageTable.rows), Pages: int64(kCache.rows / p.PageSize),
		MaxPages: int64(p.PageTable.cols), Cols: int64(cols),
	}))
}

// paged checks a cache of cols columns and its tables.
func (s *Stream) paged(op string, kCache, vCache *Tensor, cols int, p Paged) bool {
	if !s.counts(op, count{"page size", p.PageSize}) {
		return false
	}
	if p.PageSize&(p.PageSize-1) != 0 || kCache.Rows()%p.PageSize != 0 {
		s.refuse(op, "page size %d: a power of two, and the %d rows of the cache a multiple of it", p.PageSize, kCache.Rows())
		return false
	}
	sequences := p.PageTable.Rows()
	return s.fits(op, value("k cache", kCache, kCache.Rows(), cols), value("v cache", vCache, kCache.Rows(), cols),
		index("page table", p.PageTable, sequences, p.PageTable.Cols()), index("lengths", p.Lengths, sequences, 1),
		index("q offsets", p.QOffsets, sequences+1, 1))
}
