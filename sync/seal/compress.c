#include <zstd.h>
#include <zstd_errors.h>

#include "sync/seal/seal.h"

enum { COMPRESS_STEP_BYTES = 256 * 1024, WINDOW_LOG_MAX = 25 /* 32 MiB */ };

int seal_compress(struct base_buf *out, const void *data, size_t len, int level,
                  struct base_err *err)
{
    size_t bound = ZSTD_compressBound(len);
    char *to = base_buf_reserve(out, bound);
    if (to == NULL)
        return base_fail(err, out->rc, "a compressed body would be too large");
    size_t n = ZSTD_compress(to, bound, data, len, level);
    if (ZSTD_isError(n))
        return base_fail(err, BASE_EIO, "zstd: %s", ZSTD_getErrorName(n));
    out->len += n;
    out->data[out->len] = '\0';
    return 0;
}

/* Streaming, so that a bomb stops at out->max and a frame need not state its size. Exactly one
 * frame, nothing behind it. */
static int decompress(ZSTD_DStream *z, struct base_buf *out, const void *data, size_t len,
                      struct base_err *err)
{
    ZSTD_inBuffer in = {data, len, 0};
    size_t left = 1;
    while (left != 0) {
        size_t room = out->max > out->len ? out->max - out->len : 0;
        if (room > COMPRESS_STEP_BYTES)
            room = COMPRESS_STEP_BYTES;
        if (room == 0)
            return base_fail(err, BASE_ETOOBIG, "a compressed body unpacks to more than %zu bytes",
                             out->max);
        char *to = base_buf_reserve(out, room);
        if (to == NULL)
            return base_fail(err, base_buf_check(out), "no room to unpack a body: %s",
                             base_code_text(base_buf_check(out)));
        ZSTD_outBuffer step = {to, room, 0};
        left = ZSTD_decompressStream(z, &step, &in);
        if (ZSTD_isError(left) && ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return base_fail(err, BASE_ENOMEM, "out of memory for zstd");
        if (ZSTD_isError(left))
            return base_fail(err, BASE_ECORRUPT, "a body is not valid zstd");
        out->len += step.pos;
        out->data[out->len] = '\0';
        if (left != 0 && in.pos == in.size && step.pos < step.size)
            return base_fail(err, BASE_ECORRUPT, "a zstd body is truncated");
    }
    return in.pos == in.size
               ? 0
               : base_fail(err, BASE_ECORRUPT, "a zstd body goes on behind its frame");
}

int seal_decompress(struct base_buf *out, const void *data, size_t len, struct base_err *err)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    if (z == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for zstd");
    /* A stranger's frame may ask for a window of 128 MiB; ours never need more than this. */
    (void)ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    int rc = decompress(z, out, data, len, err);
    (void)ZSTD_freeDStream(z);
    return rc;
}
