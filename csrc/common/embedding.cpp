#include "op.h"

using namespace l3v;

l3v_status l3v_embedding(l3v_context* ctx, const l3v_embedding_params* params) {
  return queue_op(ctx, "l3v_embedding", params, [](Op& op, const l3v_embedding_params& p) {
    EmbeddingArgs a{};
    a.rows = op.count("rows", p.rows);
    const Weight& w = op.weight(p.weight);
    a.weight = &w;
    a.ids = op.in("ids", p.ids, a.rows, 1, Holds::kIndexes);
    a.out = op.out("out", p.out, a.rows, w.cols);
    return op.run(&Device::embedding, a);
  });
}
