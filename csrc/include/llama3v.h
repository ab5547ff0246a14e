/* llama3v.h: the one contract between the Go side and a backend library.
 *
 * Plain C99. Every backend (libllama3v-cpu, libllama3v-cuda, libllama3v-metal) exports exactly
 * the functions declared here and nothing else. Signatures hold int32_t, int64_t, uint32_t,
 * uint64_t, double and pointers, at most eight arguments, no struct by value, no variadics and
 * no callbacks. No call exits the process, aborts, or lets an exception across.
 *
 * Words. A context owns a device, one stream of work and every object made on it. Ops queue on
 * the stream and return; they run in the order they were queued. These calls wait for the stream:
 * l3v_synchronize, l3v_buffer_read, l3v_graph_replay, l3v_event_elapsed, l3v_weight_read_rows,
 * l3v_context_destroy, and every call that frees an object which queued work still uses.
 *
 * Threads. One context, one thread at a time; l3v_cancel alone may be called at any moment from
 * any thread while the context lives. Two contexts are independent, in one library or in two.
 *
 * Handles. A context is an opaque pointer. Buffers, weights, graphs and events are 64-bit ids of
 * their context, never zero and never used again; an id that is not alive is refused with
 * L3V_INVALID_ARGUMENT.
 *
 * Host memory crosses only as a direct argument, is used during the call, and is not kept.
 */
#ifndef LLAMA3V_H
#define LLAMA3V_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define L3V_API __attribute__((visibility("default")))

/* Compatibility.
 *
 * A caller compiled against major.minor may use a library whose major is equal and whose minor is
 * the same or higher. Within one major: functions, struct fields at the end of a struct, and enum
 * values may be added (that raises minor); nothing is removed, renumbered or given another
 * meaning (that raises major, and sets minor to zero).
 *
 * Same minor: every struct has the caller's size and field offsets (l3v_struct_layout), or the
 * caller refuses the library. Higher minor: each struct is at least the caller's size and starts
 * with the caller's fields at the caller's offsets.
 *
 * A params struct says its own size first. Smaller than the size the struct had in major.0:
 * L3V_INVALID_ARGUMENT. Larger than the library knows: the unknown tail must be zero, or the call
 * is L3V_UNSUPPORTED, since an ignored field would be a wrong answer. Fields named reservedN must
 * be zero. */
#define L3V_ABI_MAJOR 1u
#define L3V_ABI_MINOR 2u
#define L3V_ABI_VERSION ((L3V_ABI_MAJOR << 16) | L3V_ABI_MINOR)

typedef int32_t l3v_status;
#define L3V_OK 0
#define L3V_INVALID_ARGUMENT 1 /* a shape, range, id or alias that does not fit; text says which */
#define L3V_UNSUPPORTED 2      /* the library has no such kernel, type or device */
#define L3V_OUT_OF_MEMORY 3    /* nothing was allocated; text has bytes needed and available */
#define L3V_BUSY 4             /* the object is held by a live graph, or a capture is open */
#define L3V_CANCELLED 5        /* l3v_cancel stopped queued work; the context is usable again */
#define L3V_BAD_VALUE 6        /* a value on the device was out of range: l3v_device_status says which */
#define L3V_DEVICE_LOST 7      /* sticky: every later call on the context returns it, but destroy */
#define L3V_INTERNAL 8         /* a fault of the library; text says where */

/* Element types. Ids are stable; a library lists the ones it has in l3v_capabilities. */
#define L3V_F32 1
#define L3V_F16 2
#define L3V_BF16 3
#define L3V_I32 4
#define L3V_U8 5
#define L3V_I8 6

/* Block types of GGUF files, for weights alone (since ABI 1.1). A row is a whole number of blocks,
 * each of a fixed number of elements and bytes as ggml defines them (ggml/src/ggml-common.h,
 * ggml-quants.c): float16 scales, small integers, in its byte order. Their values widened to float32
 * are the ones that ggml's dequantize_row_* gives, bit for bit. */
#define L3V_Q4_0 16   /* 32 elements in 18 bytes */
#define L3V_Q4_1 17   /* 32 in 20 */
#define L3V_Q5_0 18   /* 32 in 22 */
#define L3V_Q5_1 19   /* 32 in 24 */
#define L3V_Q8_0 20   /* 32 in 34 */
#define L3V_Q2_K 21   /* 256 in 84 */
#define L3V_Q3_K 22   /* 256 in 110 */
#define L3V_Q4_K 23   /* 256 in 144 */
#define L3V_Q5_K 24   /* 256 in 176 */
#define L3V_Q6_K 25   /* 256 in 210 */
#define L3V_IQ4_NL 26 /* 32 in 18 */
#define L3V_IQ4_XS 27 /* 256 in 136 */

/* Activations fused behind a linear, or alone (l3v_activation). x is the value, all in float32. */
#define L3V_ACT_NONE 0
#define L3V_ACT_GELU_TANH 1  /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
#define L3V_ACT_GELU_ERF 2   /* 0.5 x (1 + erf(x / sqrt 2)) */
#define L3V_ACT_GELU_QUICK 3 /* x sigmoid(1.702 x) */
#define L3V_ACT_SILU 4       /* x sigmoid(x) */

typedef struct l3v_context l3v_context;

/* ---- Handshake. No context needed; these never fail and never touch a device. ------------- */

/* The library's L3V_ABI_VERSION. Ask this first; every other symbol may be missing. */
L3V_API uint32_t l3v_abi_version(void);

/* Struct ids, in the order of the structs below. */
#define L3V_STRUCT_VIEW 1
#define L3V_STRUCT_CAPABILITIES 2
#define L3V_STRUCT_CONTEXT 3
#define L3V_STRUCT_COUNTERS 4
#define L3V_STRUCT_DEVICE_STATUS 5
#define L3V_STRUCT_WEIGHT 6
#define L3V_STRUCT_GRAPH 7
#define L3V_STRUCT_LINEAR 8
#define L3V_STRUCT_EMBEDDING 9
#define L3V_STRUCT_LAYER_NORM 10
#define L3V_STRUCT_RMS_NORM 11
#define L3V_STRUCT_PATCH_EMBED 12
#define L3V_STRUCT_ATTENTION 13
#define L3V_STRUCT_CACHE_APPEND 14
#define L3V_STRUCT_PAGED_ATTENTION 15
#define L3V_STRUCT_ROPE 16
#define L3V_STRUCT_SWIGLU 17
#define L3V_STRUCT_ACTIVATION 18
#define L3V_STRUCT_COPY_ROWS 19
#define L3V_STRUCT_SOFTMAX 20
#define L3V_STRUCT_TOPK 21
#define L3V_STRUCT_ADVANCE 22
#define L3V_STRUCT_CHECK_FINITE 23
#define L3V_STRUCT_PENALIZE 24 /* 24 to 26 since ABI 1.1 */
#define L3V_STRUCT_SAMPLE 25
#define L3V_STRUCT_LOG_PROB 26
#define L3V_STRUCT_COUNT 26

/* Size in bytes of struct id as the library compiled it, and the byte offset of each of its
 * fields in declaration order into offsets[0..cap). A view counts as one field. Returns the number
 * of fields in *fields. L3V_INVALID_ARGUMENT: no such id, or cap is too small. */
L3V_API l3v_status l3v_struct_layout(uint32_t id, uint32_t* size, uint32_t* offsets, uint32_t cap,
                                     uint32_t* fields);

/* ---- Capabilities. ------------------------------------------------------------------------- */

#define L3V_CAP_EMULATED 1u  /* runs a GPU's kernels on the CPU: for tests, never picked by itself */
#define L3V_CAP_CAPTURE 2u   /* l3v_capture_begin works */
#define L3V_CAP_BATCH_INVARIANT 4u /* a result never depends on what else is in the batch */
#define L3V_CAP_BATCH_INVARIANT_MODE 8u /* or only where L3V_CONTEXT_BATCH_INVARIANT asks; since ABI 1.2 */
#define L3V_CAP_BLOCKS_IN_HALF 16u /* compute F16 and BF16 take weights of block types; since ABI 1.2 */

typedef struct l3v_capabilities {
  uint32_t struct_size;
  uint32_t flags;              /* L3V_CAP_... */
  uint64_t weight_types;       /* bit n set: weights of element type n */
  uint64_t activation_types;   /* bit n set: views of activations of type n */
  uint64_t compute_types;      /* bit n set: l3v_linear_params.compute n */
  int64_t  memory_total;       /* bytes on the device */
  int64_t  memory_free;        /* bytes free now */
  int32_t  max_head_dim;       /* attention and rope */
  int32_t  max_topk;
  int32_t  cores;              /* processors or multiprocessors */
  int32_t  cancel_latency_ms;  /* l3v_cancel takes effect within this on the largest single op */
  char     name[64];           /* "cpu", "cuda", "metal"; NUL-terminated */
  char     device[128];        /* processor or card and the kernel set chosen for it */
} l3v_capabilities;

/* Looks for the device and says what the library can do on it; allocates nothing that stays.
 * On failure err (cap bytes, may be null) gets the reason: L3V_UNSUPPORTED, no device. */
L3V_API l3v_status l3v_probe(int32_t device, l3v_capabilities* out, char* err, uint64_t cap);

/* ---- Contexts. ----------------------------------------------------------------------------- */

/* A row's bits never depend on what else is in the call, at the cost of slower kernels where the
 * library says L3V_CAP_BATCH_INVARIANT_MODE; nothing changes where it says L3V_CAP_BATCH_INVARIANT, and
 * L3V_UNSUPPORTED where it says neither. Since ABI 1.2. */
#define L3V_CONTEXT_BATCH_INVARIANT 1u

typedef struct l3v_context_params {
  uint32_t struct_size;
  int32_t  device;        /* index, 0 the first */
  int32_t  threads;       /* cpu: 0 means one per usable core; ignored on a GPU */
  uint32_t flags;         /* L3V_CONTEXT_..., since ABI 1.2; zero before */
  int64_t  memory_limit;  /* bytes the context may allocate; 0 means no limit of its own */
  char     kernels[32];   /* "" lets the library choose; cpu: "scalar", "avx2", "avx512", "neon";
                           * cuda: "plain", "sm80", "sm90" */
} l3v_context_params;

/* Makes a context. err (err_cap bytes, may be null) gets the text when it fails, as there is no
 * context yet to hold it. */
L3V_API l3v_status l3v_context_create(const l3v_context_params* p, l3v_context** out, char* err,
                                      uint64_t err_cap);

/* Waits, then frees the context with everything made on it. A null ctx is L3V_OK. */
L3V_API l3v_status l3v_context_destroy(l3v_context* ctx);

/* Copies the text of ctx's newest failure into buf (cap bytes, cut to fit, NUL-terminated).
 * Returns the bytes the whole text needs, NUL included. */
L3V_API uint64_t l3v_last_error(l3v_context* ctx, char* buf, uint64_t cap);

/* Stops the work that is queued or running, between two ops. The next call that waits returns
 * L3V_CANCELLED and clears the request, whether or not anything was stopped. Thread-safe. */
L3V_API l3v_status l3v_cancel(l3v_context* ctx);

/* Waits for everything queued. Returns the first failure since the last wait: L3V_CANCELLED,
 * L3V_BAD_VALUE, L3V_DEVICE_LOST. */
L3V_API l3v_status l3v_synchronize(l3v_context* ctx);

typedef struct l3v_counters {
  uint32_t struct_size;
  uint32_t reserved0;
  int64_t  entries;       /* calls into the library on this context, this one not counted */
  int64_t  ops;           /* ops run, those of replays included */
  int64_t  captures;      /* graphs made */
  int64_t  replays;       /* graph runs */
  int64_t  allocations;   /* native allocations: buffers, weights, workspaces, graphs */
  int64_t  objects;       /* buffers, weights, graphs and events alive */
  int64_t  bytes;         /* bytes allocated now */
  int64_t  bytes_peak;    /* most bytes allocated at once */
  int64_t  workspace;     /* of bytes: held by the ops' own scratch memory */
} l3v_counters;

L3V_API l3v_status l3v_counters_read(l3v_context* ctx, l3v_counters* out);

/* What the device can do at most, measured now on all of the context's threads: the bound that a
 * kernel's speed is held against. */
#define L3V_PEAK_COMPUTE 1 /* multiply-adds of compute type dtype in registers; operations, 2 each */
#define L3V_PEAK_READ 2    /* reads through `bytes` of memory, again and again; bytes; dtype 0 */

/* Runs for about seconds (0.01 to 10) and returns operations or bytes per second, and per clock
 * cycle of one core or multiprocessor. bytes: 0 for L3V_PEAK_COMPUTE; for L3V_PEAK_READ the size
 * of the memory, cut among the threads: a few times the caches for the memory's own rate, an op's
 * working set for the rate of the cache that holds it. Waits. L3V_UNSUPPORTED: the kernel set has no such loop.
 * L3V_OUT_OF_MEMORY: no room for the memory to read. */
L3V_API l3v_status l3v_measure_peak(l3v_context* ctx, int32_t kind, int32_t dtype, int64_t bytes,
                                    double seconds, double* per_second, double* per_cycle);

/* What a kernel found wrong and could not say through a return value. */
#define L3V_FAULT_NONE 0
#define L3V_FAULT_TOKEN_ID 1   /* an id outside the table or the columns; index: row, value: id */
#define L3V_FAULT_ROW_INDEX 2  /* copy_rows index outside its side; index: row, value: index */
#define L3V_FAULT_PAGE 3       /* a page number outside the cache; index: sequence, value: page */
#define L3V_FAULT_POSITION 4   /* a position past the page table or below zero; index: row or sequence */
#define L3V_FAULT_OFFSETS 5    /* ragged offsets that fall or leave the view; index: sequence */
#define L3V_FAULT_NOT_FINITE 6 /* NaN or infinity; index: row, value: column; stage: the check's */
#define L3V_FAULT_SETTING 7    /* a row of settings out of range; index: row, value: its column; since ABI 1.1 */

typedef struct l3v_device_status {
  uint32_t struct_size;
  int32_t  fault;  /* L3V_FAULT_..., the first since the last time it was reported */
  int32_t  op;     /* L3V_STRUCT_... of the op that found it */
  int32_t  stage;  /* l3v_check_finite_params.stage, else 0 */
  int64_t  index;
  int64_t  value;
} l3v_device_status;

/* The fault behind the newest L3V_BAD_VALUE of this context; fault is L3V_FAULT_NONE before one. */
L3V_API l3v_status l3v_device_status_read(l3v_context* ctx, l3v_device_status* out);

/* ---- Buffers. ------------------------------------------------------------------------------ */

/* Device memory of bytes > 0, filled with zeros, aligned to at least 64 bytes. */
L3V_API l3v_status l3v_buffer_alloc(l3v_context* ctx, int64_t bytes, uint64_t* out);
/* L3V_BUSY: a live graph uses it. */
L3V_API l3v_status l3v_buffer_free(l3v_context* ctx, uint64_t buffer);
/* Host to device, ordered behind the work already queued; src may be reused on return. */
L3V_API l3v_status l3v_buffer_write(l3v_context* ctx, uint64_t buffer, int64_t offset,
                                    const void* src, int64_t bytes);
/* Device to host. Waits; returns what l3v_synchronize would. dst is written only on L3V_OK. */
L3V_API l3v_status l3v_buffer_read(l3v_context* ctx, uint64_t buffer, int64_t offset, void* dst,
                                   int64_t bytes);
/* Device to device, queued like an op and captured like one. The ranges may not overlap. */
L3V_API l3v_status l3v_buffer_copy(l3v_context* ctx, uint64_t dst, int64_t dst_offset, uint64_t src,
                                   int64_t src_offset, int64_t bytes);

/* A matrix inside a buffer: rows of elements, row i at offset + i * row_stride * element size.
 * The op that takes a view says its rows and columns. buffer 0 means "none" where an op allows it.
 * A view is checked whole: the last row must end inside the buffer. offset is a multiple of the
 * element size. row_stride 0 means packed: the op's columns. */
typedef struct l3v_view {
  uint64_t buffer;
  int64_t  offset;      /* bytes */
  int64_t  row_stride;  /* elements */
  int32_t  dtype;       /* L3V_F32, ... */
  uint32_t reserved0;
} l3v_view;

/* ---- Weights. ------------------------------------------------------------------------------ */

/* A matrix [rows, cols] as a linear layer or a table uses it: y = x W^T, x [tokens, cols], y
 * [tokens, rows]. The library keeps it in a layout of its own; rows go in and come out in dtype's
 * plain row-major form. */
typedef struct l3v_weight_params {
  uint32_t struct_size;
  int32_t  dtype;  /* L3V_F32, L3V_F16, L3V_BF16, or a block type whose elements divide cols */
  int64_t  rows, cols;
} l3v_weight_params;

/* Bytes that l3v_weight_create would allocate. */
L3V_API l3v_status l3v_weight_plan(l3v_context* ctx, const l3v_weight_params* p, int64_t* bytes);
/* Makes a weight whose rows are still to be written. Ops refuse it until each row was. */
L3V_API l3v_status l3v_weight_create(l3v_context* ctx, const l3v_weight_params* p, uint64_t* out);
/* Packs rows [first, first + rows) from src: rows * cols elements of the weight's dtype (rows of
 * whole blocks of a block type), row-major, little-endian, any alignment; bytes is their size. A row
 * may be written again. Not under capture. */
L3V_API l3v_status l3v_weight_write_rows(l3v_context* ctx, uint64_t weight, int64_t first,
                                         int64_t rows, const void* src, int64_t bytes);
/* The inverse: bit for bit what was written. Waits. */
L3V_API l3v_status l3v_weight_read_rows(l3v_context* ctx, uint64_t weight, int64_t first,
                                        int64_t rows, void* dst, int64_t bytes);
/* The packed form itself, bytes [offset, offset + bytes) of the l3v_weight_plan bytes it takes: for a
 * cache of weights, as it means something to this very library alone. Since ABI 1.1. Read waits; a
 * weight whose packed bytes were all written has all its rows. Not under capture. */
L3V_API l3v_status l3v_weight_read_packed(l3v_context* ctx, uint64_t weight, int64_t offset, void* dst,
                                          int64_t bytes);
L3V_API l3v_status l3v_weight_write_packed(l3v_context* ctx, uint64_t weight, int64_t offset,
                                           const void* src, int64_t bytes);
/* L3V_BUSY: a live graph uses it. */
L3V_API l3v_status l3v_weight_free(l3v_context* ctx, uint64_t weight);

/* ---- Capture and replay. ------------------------------------------------------------------- */

/* A graph copies a host block of exactly in.bytes to in, runs its ops, and copies out.bytes from
 * out to the host. Either may be buffer 0 with 0 bytes. */
typedef struct l3v_graph_params {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t in_buffer;
  int64_t  in_offset, in_bytes;
  uint64_t out_buffer;
  int64_t  out_offset, out_bytes;
} l3v_graph_params;

/* From here to l3v_capture_end ops are checked and recorded, not run. Only ops and
 * l3v_buffer_copy are allowed meanwhile; other calls return L3V_BUSY. */
L3V_API l3v_status l3v_capture_begin(l3v_context* ctx);
/* Ends the capture. The graph holds every buffer and weight its ops use: freeing one is L3V_BUSY
 * until the graph is freed. When an op of the capture failed, no graph is made and that status
 * returns. */
L3V_API l3v_status l3v_capture_end(l3v_context* ctx, const l3v_graph_params* p, uint64_t* out);
/* Ends the capture without a graph. L3V_OK when none is open. */
L3V_API l3v_status l3v_capture_abort(l3v_context* ctx);
/* Runs the graph steps >= 1 times: the in block goes in before the first step; after step i the
 * out block lands at out + i * out.bytes. Waits, and returns what l3v_synchronize would; *done
 * (may be null) is the number of steps whose out block is whole. out_bytes is steps * out.bytes. */
L3V_API l3v_status l3v_graph_replay(l3v_context* ctx, uint64_t graph, int32_t steps, const void* in,
                                    int64_t in_bytes, void* out, int64_t out_bytes, int32_t* done);
L3V_API l3v_status l3v_graph_free(l3v_context* ctx, uint64_t graph);

/* ---- Events: time on the device's own clock. ----------------------------------------------- */

L3V_API l3v_status l3v_event_create(l3v_context* ctx, uint64_t* out);
/* Queues a time stamp. Not under capture. */
L3V_API l3v_status l3v_event_record(l3v_context* ctx, uint64_t event);
/* Seconds from the newest record of start to that of end. Waits for both.
 * L3V_INVALID_ARGUMENT: one was never recorded. */
L3V_API l3v_status l3v_event_elapsed(l3v_context* ctx, uint64_t start, uint64_t end, double* seconds);
L3V_API l3v_status l3v_event_free(l3v_context* ctx, uint64_t event);

/* ---- Ops. ---------------------------------------------------------------------------------- *
 *
 * Each queues one op and returns. L3V_INVALID_ARGUMENT: counts below one, a view that leaves its
 * buffer, an overlap of output and input that the op does not allow, a field out of range.
 * L3V_UNSUPPORTED: a dtype, head size or compute type the library has no kernel for. "rows" of an
 * op are independent: no row's result depends on another, nor, where the library or the context is
 * batch-invariant, on their number, bit for bit. Floats are float32, sums are too, index views are
 * int32. Where l3v_capabilities lists BF16 or F16 among activation_types, views that an op calls
 * activations may be of that type as well; a value is widened as it is read, and rounded to nearest
 * even as it is written. Unless an op says otherwise, out may not overlap an input, except that it
 * may be the very same view as an input named "in place". Since ABI 1.0 where nothing else is said. */

/* out = activation(x W^T + bias) + residual.
 * x [rows, weight.cols], bias [weight.rows] or none, residual and out [rows, weight.rows].
 * out may be the same view as residual. x and out are activations. */
typedef struct l3v_linear_params {
  uint32_t struct_size;
  int32_t  activation;  /* L3V_ACT_... */
  uint64_t weight;
  l3v_view x, bias, residual, out;
  int64_t  rows;
  int32_t  compute;     /* L3V_F32: x as it is, products of the widened weight in float32.
                         * L3V_BF16: x rounded to nearest even bfloat16 first; bf16 weights, and block
                         * types where L3V_CAP_BLOCKS_IN_HALF says so: the widened weight is rounded as
                         * well, or is not (a library may differ between the two from op to op).
                         * L3V_F16 (since ABI 1.2): the same with float16; beyond 65504 it is infinite.
                         * Sums are float32 in all of them.
                         * L3V_I8 (since ABI 1.1): block types only. Each 32 values of a row of x
                         * become int8 with one float32 scale, max |x| / 127, rounded to nearest
                         * even. Inside a run of elements that share a scale in the weight, and are
                         * at most 32, the sum is exact in int32; scales are applied and runs summed
                         * in float32. */
  uint32_t reserved0;
} l3v_linear_params;
L3V_API l3v_status l3v_linear(l3v_context* ctx, const l3v_linear_params* p);

/* out[i] = table row ids[i], widened. ids [rows, 1]; out [rows, weight.cols].
 * An id of -1 marks a slot that something else fills: its row of out stays as it is.
 * Any other id outside 0..weight.rows-1 is L3V_FAULT_TOKEN_ID, and its row becomes zeros. */
typedef struct l3v_embedding_params {
  uint32_t struct_size;
  uint32_t reserved0;
  uint64_t weight;
  l3v_view ids, out;
  int64_t  rows;
} l3v_embedding_params;
L3V_API l3v_status l3v_embedding(l3v_context* ctx, const l3v_embedding_params* p);

/* out = (x - mean) / sqrt(var + eps) * weight + bias, row by row, var biased (Ba et al. 2016,
 * arXiv:1607.06450). x, out [rows, cols], in place; weight, bias [cols]. out is an activation. */
typedef struct l3v_layer_norm_params {
  uint32_t struct_size;
  float    eps;  /* > 0 */
  l3v_view x, weight, bias, out;
  int64_t  rows, cols;
} l3v_layer_norm_params;
L3V_API l3v_status l3v_layer_norm(l3v_context* ctx, const l3v_layer_norm_params* p);

/* out = x / sqrt(mean(x^2) + eps) * weight, row by row (Zhang & Sennrich 2019, arXiv:1910.07467).
 * x, out [rows, cols], in place; weight [cols]. out is an activation. */
typedef struct l3v_rms_norm_params {
  uint32_t struct_size;
  float    eps;  /* > 0 */
  l3v_view x, weight, out;
  int64_t  rows, cols;
} l3v_rms_norm_params;
L3V_API l3v_status l3v_rms_norm(l3v_context* ctx, const l3v_rms_norm_params* p);

/* Cuts each picture into patch x patch squares, row-major from the top left, rest pixels at the
 * right and bottom unused, and projects each: out = W flatten(square) + bias + position.
 * pixels [images * channels * height, width] planar; W [dim, channels * patch * patch] flattened
 * in (channel, row, column) order; bias [dim] or none; position [grid, dim] or none, one row per
 * patch of a picture; out [images * grid, dim] with grid = (height/patch) * (width/patch).
 * (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1.) */
typedef struct l3v_patch_embed_params {
  uint32_t struct_size;
  int32_t  compute;  /* as in l3v_linear_params */
  uint64_t weight;
  l3v_view pixels, bias, position, out;
  int64_t  images, channels, height, width, patch;
} l3v_patch_embed_params;
L3V_API l3v_status l3v_patch_embed(l3v_context* ctx, const l3v_patch_embed_params* p);

/* Bidirectional attention, every query of a sequence against every key of it:
 *   out = softmax(scale q k^T) v    per sequence and head.
 * q, out [q_rows, heads * head_dim]; k, v [k_rows, kv_heads * head_dim]; head h of q reads head
 * h / (heads / kv_heads) of k and v. Columns of each head lie together, so that a view of a fused
 * [q k v] row works through offset and row_stride.
 * q_offsets, k_offsets [sequences + 1, 1]: sequence s owns rows [off[s], off[s+1]); off[0] may be
 * above zero, offsets may not fall or pass the view: L3V_FAULT_OFFSETS. Rows of q in no sequence
 * are left alone. key_mask [k_rows, 1] of L3V_U8 or none: a key whose mask is 0 counts for no one.
 * A query with no key left gets zeros. q, k, v and out are activations, q, k and v of one type. */
typedef struct l3v_attention_params {
  uint32_t struct_size;
  float    scale;  /* 1 / sqrt(true head size) as a rule; > 0 */
  l3v_view q, k, v, out, q_offsets, k_offsets, key_mask;
  int64_t  q_rows, k_rows, sequences;
  int32_t  heads, kv_heads, head_dim;  /* head_dim 1..256 */
  uint32_t reserved0;
} l3v_attention_params;
L3V_API l3v_status l3v_attention(l3v_context* ctx, const l3v_attention_params* p);

/* The paged cache: keys and values of one layer, each [pages * page_size, kv_heads * head_dim].
 * Position t of sequence s lies in row page_table[s][t / page_size] * page_size + t % page_size.
 * page_table [sequences, max_pages]. lengths [sequences, 1]: positions a sequence has in the cache
 * once this step's rows are in. q_offsets [sequences + 1, 1] as in l3v_attention: row j of
 * sequence s has position lengths[s] - (off[s+1] - off[s]) + j. A sequence may own no row. A
 * sequence of length 0 is idle (an unused place of a batch bucket): its rows are not stored, and
 * attention gives them zeros.
 *
 * cache_append: puts k and v [rows, kv_heads * head_dim] of the step into the cache. All four are
 * activations, k and v of one type, the caches of one type. */
typedef struct l3v_cache_append_params {
  uint32_t struct_size;
  int32_t  page_size;  /* a power of two */
  l3v_view k, v, k_cache, v_cache, page_table, lengths, q_offsets;
  int64_t  rows, sequences, pages, max_pages, cols;  /* cols = kv_heads * head_dim */
} l3v_cache_append_params;
L3V_API l3v_status l3v_cache_append(l3v_context* ctx, const l3v_cache_append_params* p);

/* Causal attention over that cache: the row at position t sees positions 0..t of its sequence.
 * Prefill, decode and mixtures of both in one call; where the library or the context is batch-invariant,
 * and with float32 views in any case, the result of a row is the same bits however the rows before it
 * were cut into steps. q, out [rows, heads * head_dim]; they and the caches are
 * activations, q and the caches of one type. */
typedef struct l3v_paged_attention_params {
  uint32_t struct_size;
  int32_t  page_size;
  l3v_view q, out, k_cache, v_cache, page_table, lengths, q_offsets;
  int64_t  rows, sequences, pages, max_pages;
  int32_t  heads, kv_heads, head_dim;
  float    scale;
} l3v_paged_attention_params;
L3V_API l3v_status l3v_paged_attention(l3v_context* ctx, const l3v_paged_attention_params* p);

/* Rotary embedding (Su et al. 2021, arXiv:2104.09864), pairs (j, j + head_dim/2):
 *   a = positions[row] * frequencies[j]
 *   x_j' = x_j cos a - x_{j+d/2} sin a,   x_{j+d/2}' = x_{j+d/2} cos a + x_j sin a
 * x [rows, heads * head_dim] in place; positions [rows, 1] >= 0 (else L3V_FAULT_POSITION);
 * frequencies [head_dim / 2], radians per position; head_dim even. x is an activation. */
typedef struct l3v_rope_params {
  uint32_t struct_size;
  int32_t  heads;
  l3v_view x, positions, frequencies;
  int64_t  rows;
  int32_t  head_dim;
  uint32_t reserved0;
} l3v_rope_params;
L3V_API l3v_status l3v_rope(l3v_context* ctx, const l3v_rope_params* p);

/* out = silu(gate) * up (Shazeer 2020, arXiv:2002.05202). gate, up, out [rows, cols]; out may be
 * gate or up in place. All are activations, gate and up of one type. */
typedef struct l3v_swiglu_params {
  uint32_t struct_size;
  uint32_t reserved0;
  l3v_view gate, up, out;
  int64_t  rows, cols;
} l3v_swiglu_params;
L3V_API l3v_status l3v_swiglu(l3v_context* ctx, const l3v_swiglu_params* p);

/* out = activation(x). x, out [rows, cols], in place; both are activations. */
typedef struct l3v_activation_params {
  uint32_t struct_size;
  int32_t  activation;
  l3v_view x, out;
  int64_t  rows, cols;
} l3v_activation_params;
L3V_API l3v_status l3v_activation(l3v_context* ctx, const l3v_activation_params* p);

/* Moves rows: for i in 0..rows-1, out[out_index[i]] = x[x_index[i]]. An index view of none means
 * i itself: with x_index alone it gathers, with out_index alone it scatters, with neither it copies.
 * An index of -1 on either side skips the row; any other outside 0..x_rows-1 or 0..out_rows-1 is
 * L3V_FAULT_ROW_INDEX, and the row is skipped. Two rows with one target: the order is not defined.
 * x and out of one dtype, not overlapping. */
typedef struct l3v_copy_rows_params {
  uint32_t struct_size;
  uint32_t reserved0;
  l3v_view x, out, x_index, out_index;
  int64_t  rows, cols, x_rows, out_rows;
} l3v_copy_rows_params;
L3V_API l3v_status l3v_copy_rows(l3v_context* ctx, const l3v_copy_rows_params* p);

/* out = softmax(scale x), row by row. -inf counts as masked; a row of nothing else becomes zeros.
 * x, out [rows, cols], in place. */
typedef struct l3v_softmax_params {
  uint32_t struct_size;
  float    scale;
  l3v_view x, out;
  int64_t  rows, cols;
} l3v_softmax_params;
L3V_API l3v_status l3v_softmax(l3v_context* ctx, const l3v_softmax_params* p);

/* The k largest of each row, largest first, the lower index first among equals; k = 1 is arg-max.
 * x [rows, cols]; ids [rows, k] of L3V_I32; values [rows, k] or none. A NaN, or a row of -inf
 * alone, is L3V_FAULT_NOT_FINITE. k <= min(cols, capabilities.max_topk). */
typedef struct l3v_topk_params {
  uint32_t struct_size;
  int32_t  k;
  l3v_view x, ids, values;
  int64_t  rows, cols;
} l3v_topk_params;
L3V_API l3v_status l3v_topk(l3v_context* ctx, const l3v_topk_params* p);

/* Ends a decode step on the device: ids[s] = next[s], positions[s] += 1, lengths[s] += 1 for every
 * sequence s whose lengths[s] > 0 (a row of a batch bucket without a sequence has 0 and stays).
 * All [sequences, 1] of L3V_I32; any of ids, positions, lengths may be none. */
typedef struct l3v_advance_params {
  uint32_t struct_size;
  uint32_t reserved0;
  l3v_view next, ids, positions, lengths;
  int64_t  sequences;
} l3v_advance_params;
L3V_API l3v_status l3v_advance(l3v_context* ctx, const l3v_advance_params* p);

/* Looks for NaN and infinity in x [rows, cols]: L3V_FAULT_NOT_FINITE with stage. */
typedef struct l3v_check_finite_params {
  uint32_t struct_size;
  int32_t  stage;  /* the caller's own number, comes back in l3v_device_status */
  l3v_view x;
  int64_t  rows, cols;
} l3v_check_finite_params;
L3V_API l3v_status l3v_check_finite(l3v_context* ctx, const l3v_check_finite_params* p);

/* The ops that choose the next token. Their settings lie in device memory, a row for each row of x,
 * so that one captured step serves any settings. All since ABI 1.1.
 *
 * penalize: lowers the scores of tokens that the text has already. x [rows, cols] in place, F32;
 * counts [rows, cols] of L3V_I32, how often each token was generated (below zero reads as zero);
 * prompt [rows, cols] of L3V_U8 or none, not 0 for a token that the prompt has; settings [rows, 3] of
 * L3V_F32: repetition p (Keskar et al. 2019, arXiv:1909.05858), presence and frequency (as OpenAI's
 * interface defines them). For each column c, in float32:
 *   p where prompt[c] or counts[c] > 0:  x = x < 0 ? x * p : x / p
 *   then where counts[c] > 0:            x = x - (presence + frequency * counts[c])
 * (1, 0, 0) and (0, 0, 0), an unused place of a batch bucket, leave the row's bits as they are.
 * Otherwise p must be finite and above zero and the others finite: L3V_FAULT_SETTING, and the row stays. */
typedef struct l3v_penalize_params {
  uint32_t struct_size;
  uint32_t reserved0;
  l3v_view x, counts, prompt, settings;
  int64_t  rows, cols;
} l3v_penalize_params;
L3V_API l3v_status l3v_penalize(l3v_context* ctx, const l3v_penalize_params* p);

/* sample: draws one column of each row. x [rows, cols] of L3V_F32, scores; ids [rows, 1] of L3V_I32.
 * counts [rows, cols] of L3V_I32 or none: counts[row][id] += 1. positions [rows, 1] of L3V_I32: a number
 * that names the draw in its text, such as the position of the token whose scores x are; below zero
 * where a draw is made: L3V_FAULT_POSITION.
 * settings [rows, 8] of L3V_I32, the bits of
 *   0 temperature (float), 1 top_k (int32), 2 top_p (float), 3 min_p (float),
 *   4 seed, low word, 5 seed, high word, 6 and 7 zero
 * Temperature 0: the largest, the lowest column among equals; words 1 to 5 count for nothing. A row of
 * zeros is a good one so. Else, each step on what the one before left over:
 *   1. weight of c: exp((x[c] - max) / temperature), in float32
 *   2. top_k > 0: columns below the top_k-th largest are out; equals of it stay
 *   3. top_p < 1: from the largest down (of equals the lower column first) columns stay until their
 *      weights reach top_p of the sum (Holtzman et al. 2020, arXiv:1904.09751); the rest is out
 *   4. min_p > 0: weights below min_p times the largest are out
 *   5. u in [0, 1): the first column that is left and whose sum of weights, from column 0 on up to its
 *      own, is above u times the sum of all
 * u = (r0 * 2^21 + floor(r1 / 2^11)) / 2^53, of the first two words r of Philox4x32-10 (Salmon et al.
 * 2011, doi:10.1145/2063384.2063405) with key {seed low, seed high} and counter {position, 0, 0, 0}: the
 * draw depends on row, settings and position, not on what else is in the batch. Sums run in double or
 * in an order as good; two backends may part where u, or a limit of step 3, is within 1e-6 of a
 * border between two columns.
 * Temperature finite and not below zero, top_k not below zero, top_p in (0, 1], min_p in [0, 1], words 6
 * and 7 zero: else L3V_FAULT_SETTING. A NaN, a row of -inf alone, and +inf where a draw is made, are
 * L3V_FAULT_NOT_FINITE. At a fault the id is -1, and counts stay. */
typedef struct l3v_sample_params {
  uint32_t struct_size;
  uint32_t reserved0;
  l3v_view x, settings, positions, ids, counts;
  int64_t  rows, cols;
} l3v_sample_params;
L3V_API l3v_status l3v_sample(l3v_context* ctx, const l3v_sample_params* p);

/* out[j] = x[ids[j]] - log(sum(exp(x))), the natural logarithm of a column's probability, row by row.
 * x [rows, cols] of L3V_F32; ids [rows, k] of L3V_I32; out [rows, k] of L3V_F32. An id of -1 leaves its
 * place in out as it is; any other outside 0..cols-1 is L3V_FAULT_TOKEN_ID, and its place becomes NaN.
 * A NaN, +inf, or a row of -inf alone is L3V_FAULT_NOT_FINITE, and the row of out becomes NaN. */
typedef struct l3v_log_prob_params {
  uint32_t struct_size;
  int32_t  k;
  l3v_view x, ids, out;
  int64_t  rows, cols;
} l3v_log_prob_params;
L3V_API l3v_status l3v_log_prob(l3v_context* ctx, const l3v_log_prob_params* p);

#ifdef __cplusplus
}
#endif
#endif /* LLAMA3V_H */
