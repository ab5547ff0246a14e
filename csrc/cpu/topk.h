// topk.h: what the forms of topk share. None of it is vector code.
#ifndef L3V_CPU_TOPK_H
#define L3V_CPU_TOPK_H

#include "ops.h"

namespace l3v::cpu {

struct Candidate {
  float value;
  int32_t column;
};

// Writes a row's outputs from its k best in order; nan is its first NaN, or -1.
void topk_write(const TopkArgs& a, Worker& w, int64_t row, int64_t nan, const Candidate* best);

// The k best candidates so far, as a heap whose root is the one to leave first: the smallest value,
// of equals the highest column.
class BestHeap {
 public:
  // Starts from the first k candidates.
  BestHeap(Candidate* heap, int32_t k);
  float least() const { return heap_[0].value; }
  // Takes c, whose column is behind those of all equals, in the place of the least one.
  void replace(Candidate c);
  // Best first. The heap is one no more.
  void sort();

 private:
  void sink(int32_t at);
  Candidate* heap_;
  int32_t k_;
};

// In the vector forms a row may be cut into parts, each scanned by one worker; the k best of a part
// and its first NaN (or -1) wait in shared memory for topk_merge.
struct TopkParts {
  TopkParts(const TopkArgs& a, int workers);
  Workspace workspace(const TopkArgs& a) const;
  Candidate* best(const TopkArgs& a, Worker& w, int64_t row, int64_t part) const;
  int64_t* nan(const TopkArgs& a, Worker& w, int64_t row, int64_t part) const;
  int64_t begin(int64_t part) const { return part * columns; }
  int64_t end(int64_t part) const { return part + 1 < count ? begin(part + 1) : total; }
  int64_t count, columns, total;
};

// Writes the row from its parts.
void topk_merge(const TopkArgs& a, Worker& w, const TopkParts& parts, int64_t row);

}  // namespace l3v::cpu
#endif
