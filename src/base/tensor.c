/* SPDX-License-Identifier: Apache-2.0 */
/* Element types and tensor sizes, with every product checked. */
#include <slipring/tensor.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define CODE_OPAQUE 3 /* DLPack's handle: means something in one process only */
#define BITS_MAX 128

static const struct {
    const char *name;
    const char *other; /* second name, NULL if there is none */
    uint8_t code;
    uint8_t bits;
} dtypes[] = {
    {"int8", "i1", SLIPRING_INT, 8},
    {"int16", "i2", SLIPRING_INT, 16},
    {"int32", "i4", SLIPRING_INT, 32},
    {"int64", "i8", SLIPRING_INT, 64},
    {"uint8", "u1", SLIPRING_UINT, 8},
    {"uint16", "u2", SLIPRING_UINT, 16},
    {"uint32", "u4", SLIPRING_UINT, 32},
    {"uint64", "u8", SLIPRING_UINT, 64},
    {"float16", "f2", SLIPRING_FLOAT, 16},
    {"float32", "f4", SLIPRING_FLOAT, 32},
    {"float64", "f8", SLIPRING_FLOAT, 64},
    {"bfloat16", "bf16", SLIPRING_BFLOAT, 16},
    {"complex64", "c8", SLIPRING_COMPLEX, 64},
    {"complex128", "c16", SLIPRING_COMPLEX, 128},
    {"bool", "b1", SLIPRING_BOOL, 8},
    {"float8_e3m4", NULL, SLIPRING_FLOAT8_E3M4, 8},
    {"float8_e4m3", NULL, SLIPRING_FLOAT8_E4M3, 8},
    {"float8_e4m3b11fnuz", NULL, SLIPRING_FLOAT8_E4M3B11FNUZ, 8},
    {"float8_e4m3fn", NULL, SLIPRING_FLOAT8_E4M3FN, 8},
    {"float8_e4m3fnuz", NULL, SLIPRING_FLOAT8_E4M3FNUZ, 8},
    {"float8_e5m2", NULL, SLIPRING_FLOAT8_E5M2, 8},
    {"float8_e5m2fnuz", NULL, SLIPRING_FLOAT8_E5M2FNUZ, 8},
    {"float8_e8m0fnu", NULL, SLIPRING_FLOAT8_E8M0FNU, 8},
    {"float6_e2m3fn", NULL, SLIPRING_FLOAT6_E2M3FN, 6},
    {"float6_e3m2fn", NULL, SLIPRING_FLOAT6_E3M2FN, 6},
    {"float4_e2m1fn", NULL, SLIPRING_FLOAT4_E2M1FN, 4},
};

#define DTYPES (sizeof dtypes / sizeof dtypes[0])

static bool dtype_valid(struct slipring_dtype dtype)
{
    return dtype.code <= SLIPRING_FLOAT4_E2M1FN && dtype.code != CODE_OPAQUE && dtype.bits >= 1 &&
           dtype.bits <= BITS_MAX && dtype.lanes >= 1;
}

static bool shape_valid(uint32_t ndim, const int64_t *shape)
{
    if (ndim > SLIPRING_DIMS_MAX || (ndim > 0 && shape == NULL)) {
        return false;
    }
    for (uint32_t i = 0; i < ndim; i++) {
        if (shape[i] < 0) {
            return false;
        }
    }
    return true;
}

/* An empty tensor has 0 elements, however large its other extents are. */
static bool count_elements(uint32_t ndim, const int64_t *shape, uint64_t *elements)
{
    uint64_t product = 1;
    bool overflow = false;
    for (uint32_t i = 0; i < ndim; i++) {
        if (shape[i] == 0) {
            *elements = 0;
            return true;
        }
        overflow |= __builtin_mul_overflow(product, (uint64_t)shape[i], &product);
    }
    *elements = product;
    return !overflow;
}

int slipring_tensor_bytes(struct slipring_dtype dtype, uint32_t ndim, const int64_t *shape,
                          uint64_t *bytes)
{
    if (!dtype_valid(dtype) || !shape_valid(ndim, shape) || bytes == NULL) {
        return -EINVAL;
    }
    uint64_t elements;
    if (!count_elements(ndim, shape, &elements)) {
        return -EOVERFLOW;
    }
    const uint64_t bits = (uint64_t)dtype.bits * dtype.lanes;
    uint64_t total;
    if (bits < 8) {
        /* Packed; eight elements are `bits` bytes, so the product in bits is never formed. */
        total = elements / 8 * bits + (elements % 8 * bits + 7) / 8;
    } else if (__builtin_mul_overflow(elements, (bits + 7) / 8, &total)) {
        return -EOVERFLOW;
    }
    if (total > INT64_MAX) {
        return -EOVERFLOW;
    }
    *bytes = total;
    return 0;
}

int slipring_dtype_parse(const char *text, struct slipring_dtype *dtype)
{
    if (text == NULL || dtype == NULL) {
        return -EINVAL;
    }
    for (size_t i = 0; i < DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0 ||
            (dtypes[i].other != NULL && strcmp(text, dtypes[i].other) == 0)) {
            *dtype = (struct slipring_dtype){dtypes[i].code, dtypes[i].bits, 1};
            return 0;
        }
    }
    return -EINVAL;
}

void slipring_dtype_name(struct slipring_dtype dtype, char *buffer, size_t size)
{
    static const char *const families[] = {"int", "uint", "float", NULL, "bfloat", "complex"};
    char name[24];
    size_t i = 0;
    while (i < DTYPES && (dtypes[i].code != dtype.code || dtypes[i].bits != dtype.bits)) {
        i++;
    }
    if (i < DTYPES) {
        snprintf(name, sizeof name, "%s", dtypes[i].name);
    } else if (dtype.code < sizeof families / sizeof families[0] && families[dtype.code] != NULL) {
        snprintf(name, sizeof name, "%s%u", families[dtype.code], dtype.bits);
    } else {
        snprintf(name, sizeof name, "type%u_%u", dtype.code, dtype.bits);
    }
    if (dtype.lanes == 1) {
        snprintf(buffer, size, "%s", name);
    } else {
        snprintf(buffer, size, "%sx%u", name, dtype.lanes);
    }
}

int slipring_field_init(struct slipring_field *field, const char *name, const char *dtype,
                        uint32_t ndim, const int64_t *shape)
{
    struct slipring_field filled;
    memset(&filled, 0, sizeof filled);
    if (field == NULL || name == NULL || !shape_valid(ndim, shape)) {
        return -EINVAL;
    }
    const size_t length = strlen(name);
    if (length == 0 || length >= SLIPRING_FIELD_NAME_BYTES) {
        return -EINVAL;
    }
    const int code = slipring_dtype_parse(dtype, &filled.dtype);
    if (code < 0) {
        return code;
    }
    memcpy(filled.name, name, length);
    filled.ndim = ndim;
    for (uint32_t i = 0; i < ndim; i++) {
        filled.shape[i] = shape[i];
    }
    *field = filled;
    return 0;
}
