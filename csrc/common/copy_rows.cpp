#include "op.h"

using namespace l3v;

l3v_status l3v_copy_rows(l3v_context* ctx, const l3v_copy_rows_params* params) {
  return queue_op(ctx, "l3v_copy_rows", params, [](Op& op, const l3v_copy_rows_params& p) {
    CopyRowsArgs a{};
    a.rows = op.count("rows", p.rows);
    a.cols = op.count("cols", p.cols);
    a.x_rows = op.count("x_rows", p.x_rows);
    a.out_rows = op.count("out_rows", p.out_rows);
    a.x = op.in("x", p.x, a.x_rows, a.cols, Holds::kAnything);
    a.x_index = op.optional("x_index", p.x_index, a.rows, 1, Holds::kIndexes);
    a.out_index = op.optional("out_index", p.out_index, a.rows, 1, Holds::kIndexes);
    // Without an index row i is row i, which must be there.
    op.require(a.x_index || a.rows <= a.x_rows, L3V_INVALID_ARGUMENT,
               "rows is %lld, and x has %lld without an index", static_cast<long long>(a.rows),
               static_cast<long long>(a.x_rows));
    op.require(a.out_index || a.rows <= a.out_rows, L3V_INVALID_ARGUMENT,
               "rows is %lld, and out has %lld without an index", static_cast<long long>(a.rows),
               static_cast<long long>(a.out_rows));
    op.require(p.x.dtype == p.out.dtype, L3V_INVALID_ARGUMENT, "x holds %s and out %s",
               dtype_name(p.x.dtype), dtype_name(p.out.dtype));
    a.out = op.out("out", p.out, a.out_rows, a.cols, Holds::kAnything);
    return op.run(&Device::copy_rows, a);
  });
}
