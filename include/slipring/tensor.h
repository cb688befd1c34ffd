/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Tensors: element types, the fields of a slot, and what a field looks like in memory.
 */
#ifndef SLIPRING_TENSOR_H
#define SLIPRING_TENSOR_H

#include <slipring/common.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPRING_DIMS_MAX 8    /**< dimensions of one field */
#define SLIPRING_FIELDS_MAX 28 /**< fields of one slot */
#define SLIPRING_FIELD_NAME_BYTES 32

/** Element type codes; the values are DLPack's. Opaque handles (3) cannot cross processes. */
enum slipring_dtype_code {
    SLIPRING_INT = 0,
    SLIPRING_UINT = 1,
    SLIPRING_FLOAT = 2,
    SLIPRING_BFLOAT = 4,
    SLIPRING_COMPLEX = 5,
    SLIPRING_BOOL = 6,
    SLIPRING_FLOAT8_E3M4 = 7,
    SLIPRING_FLOAT8_E4M3 = 8,
    SLIPRING_FLOAT8_E4M3B11FNUZ = 9,
    SLIPRING_FLOAT8_E4M3FN = 10,
    SLIPRING_FLOAT8_E4M3FNUZ = 11,
    SLIPRING_FLOAT8_E5M2 = 12,
    SLIPRING_FLOAT8_E5M2FNUZ = 13,
    SLIPRING_FLOAT8_E8M0FNU = 14,
    SLIPRING_FLOAT6_E2M3FN = 15,
    SLIPRING_FLOAT6_E3M2FN = 16,
    SLIPRING_FLOAT4_E2M1FN = 17
};

/** An element type: code, bits of one lane, lanes of one element. The layout is DLDataType's. */
struct slipring_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};

/** One field of a slot, as the schema names it. */
struct slipring_field {
    char name[SLIPRING_FIELD_NAME_BYTES]; /**< unique in the schema, NUL-terminated */
    struct slipring_dtype dtype;
    uint32_t ndim; /**< 0 (a scalar) to SLIPRING_DIMS_MAX */
    int64_t
        shape[SLIPRING_DIMS_MAX]; /**< elements, outermost first; the largest shape if variable */
};

/** A field of one slot or of a block of n slots, in memory. A plain value. */
struct slipring_tensor {
    void *data; /**< first element; read-only when it came from a view */
    struct slipring_dtype dtype;
    uint32_t ndim; /**< of a block of n > 1 slots: 1 + the field's; the arrays are set so far */
    int64_t shape[SLIPRING_DIMS_MAX + 1];   /**< elements, outermost first */
    int64_t strides[SLIPRING_DIMS_MAX + 1]; /**< elements, outermost first */
    uint64_t bytes; /**< of the elements alone, without the gaps of strides */
};

/**
 * The size of a C-contiguous tensor.
 *
 * @param dtype       element type; bits 1 to 128, lanes at least 1, no opaque handle
 * @param ndim        0 to SLIPRING_DIMS_MAX
 * @param shape       ndim extents in elements, none negative
 * @param[out] bytes  elements times element size, in bytes; elements narrower than a byte are
 *                    packed and the last byte filled up
 * @retval 0          bytes is set
 * @retval -EINVAL    dtype, ndim or an extent is out of range
 * @retval -EOVERFLOW the size does not fit 63 bits
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_tensor_bytes(struct slipring_dtype dtype, uint32_t ndim,
                                                      const int64_t *shape, uint64_t *bytes);

/**
 * Fill a field description.
 *
 * @param[out] field  name, dtype and shape are copied into it
 * @param name        1 to 31 characters
 * @param dtype       as slipring_dtype_parse() reads it, for example "f4", "u1", "bf16"
 * @param ndim        0 to SLIPRING_DIMS_MAX
 * @param shape       ndim extents in elements; NULL when ndim is 0
 * @retval 0          field is set
 * @retval -EINVAL    name, dtype, ndim or an extent is not as above
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_field_init(struct slipring_field *field, const char *name,
                                                    const char *dtype, uint32_t ndim,
                                                    const int64_t *shape);

/**
 * Read an element type's name: "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 b1" (bytes, as NumPy's
 * typestr), "int8 ... uint64 float16 float32 float64 complex64 complex128 bool bfloat16"
 * (or "bf16"), and "float8_e4m3fn" and its kin, as slipring_dtype_name() writes them.
 *
 * @param text        the name
 * @param[out] dtype  lanes is 1
 * @retval 0          dtype is set
 * @retval -EINVAL    no such name
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_dtype_parse(const char *text,
                                                     struct slipring_dtype *dtype);

/**
 * Write an element type's name, such as "float32" or "float32x4".
 *
 * @param dtype   any value
 * @param buffer  receives the name, cut to size
 * @param size    of buffer in bytes; 32 always suffices
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_dtype_name(struct slipring_dtype dtype, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
