// paged.h: what the two ops on the paged cache have in common.
#ifndef L3V_COMMON_PAGED_H
#define L3V_COMMON_PAGED_H

#include "op.h"

namespace l3v {

// Checks the counts of a step and its cache. Returns the rows of the cache.
template <class Params, class Args>
int64_t paged_shape(Op& op, const Params& p, Args* a) {
  a->rows = op.count("rows", p.rows);
  a->sequences = op.between("sequences", p.sequences, 1, INT64_MAX - 1);
  a->pages = op.count("pages", p.pages);
  a->max_pages = op.count("max_pages", p.max_pages);
  a->page_size = op.count("page_size", p.page_size);
  op.require((a->page_size & (a->page_size - 1)) == 0, L3V_INVALID_ARGUMENT,
             "page_size is %d, not a power of two", a->page_size);
  // Positions are int32: a longer table could not be used, and would only overflow sizes.
  const int64_t positions = op.product("max_pages * page_size", a->max_pages, a->page_size);
  op.require(positions <= int64_t{1} << 31, L3V_INVALID_ARGUMENT,
             "max_pages * page_size is %lld, beyond what an int32 position can reach",
             static_cast<long long>(positions));
  return op.product("pages * page_size", a->pages, a->page_size);
}

// Checks the views that lead into the cache.
template <class Params, class Args>
void paged_tables(Op& op, const Params& p, Args* a) {
  a->page_table = op.in("page_table", p.page_table, a->sequences, a->max_pages, Holds::kIndexes);
  a->lengths = op.in("lengths", p.lengths, a->sequences, 1, Holds::kIndexes);
  a->q_offsets = op.in("q_offsets", p.q_offsets, a->sequences + 1, 1, Holds::kIndexes);
}

}  // namespace l3v
#endif
