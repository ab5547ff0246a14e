// sample.h: what the forms of sample and log_prob share. None of it is vector code.
#ifndef L3V_CPU_SAMPLE_H
#define L3V_CPU_SAMPLE_H

#include "ops.h"

namespace l3v::cpu {

struct SampleSettings {
  float temperature;
  int32_t top_k;
  float top_p, min_p;
  uint64_t seed;
};

// Reads a row of settings. Returns the word that is out of range, or -1.
int32_t read_settings(const int32_t* words, SampleSettings* s);

// The number in [0, 1) of a draw, 53 bits of it.
double draw_uniform(uint64_t seed, uint32_t position);

// The largest values of a list, until their weights reach a target: all above least, and of those
// equal to it the first kept in the list.
struct Cut {
  float least;
  int64_t equal, kept;
};

// Finds the cut of the values x[at[i]], i < n, columns at in rising order, with weights weights[at[i]] (null: 1
// each, and equal weights for equal values). In front of at it leaves the columns of all that equal
// cut.least, in rising order. All are kept when their weights do not reach the target.
Cut cut_off(const float* x, const float* weights, int32_t* at, int64_t n, double target);

// Scores are weighed, and their weights summed, a block of columns at a time.
constexpr int64_t kSampleBlock = 1024;
inline int64_t sample_blocks(int64_t cols) { return (cols + kSampleBlock - 1) / kSampleBlock; }

// The scratch memory for one row: a megabyte at the vocabulary of Llama 3, so that there is one for
// each row or each worker, whichever are fewer.
struct SampleScratch {
  double* totals;  // of each block's weights
  float* weights;  // of each column
  int32_t* at;     // columns that cut_off looks at
};
SampleScratch sample_scratch(const SampleArgs& a, const Worker& w, int64_t row);

// Draws a column from weights, whose blocks have these totals, one of them above zero.
int32_t draw(const float* weights, const double* totals, int64_t cols, double uniform);

}  // namespace l3v::cpu
#endif
