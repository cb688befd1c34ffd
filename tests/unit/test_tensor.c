/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves: sizes of tensors are exact for whole and packed elements and never wrap; element types
 * and fields are read and written as tensor.h says; a refused call leaves its result untouched.
 */
#include "test.h"

#include <slipring/tensor.h>

#define UNTOUCHED UINT64_C(0x5555)

static const struct slipring_dtype u8 = {SLIPRING_UINT, 8, 1};
static const struct slipring_dtype f32 = {SLIPRING_FLOAT, 32, 1};

static void check_bytes(struct slipring_dtype dtype, uint32_t ndim, const int64_t *shape, int code,
                        uint64_t want)
{
    uint64_t bytes = UNTOUCHED;
    CHECK_EQ(slipring_tensor_bytes(dtype, ndim, shape, &bytes), code);
    CHECK_EQ(bytes, code < 0 ? UNTOUCHED : want);
}

static void test_sizes(void)
{
    check_bytes(f32, 0, NULL, 0, 4);
    check_bytes(f32, 3, (int64_t[]){2, 3, 4}, 0, 96);
    check_bytes(u8, 8, (int64_t[]){2, 2, 2, 2, 2, 2, 2, 2}, 0, 256);
    check_bytes(f32, 2, (int64_t[]){7, 0}, 0, 0);
    check_bytes((struct slipring_dtype){SLIPRING_FLOAT, 32, 4}, 1, (int64_t[]){3}, 0, 48);
    check_bytes((struct slipring_dtype){SLIPRING_COMPLEX, 128, 1}, 1, (int64_t[]){3}, 0, 48);
    /* 12 bits are wider than a byte: two bytes for each element. */
    check_bytes((struct slipring_dtype){SLIPRING_UINT, 12, 1}, 1, (int64_t[]){3}, 0, 6);
    /* Narrower ones are packed, and the last byte filled up. */
    check_bytes((struct slipring_dtype){SLIPRING_FLOAT4_E2M1FN, 4, 1}, 1, (int64_t[]){3}, 0, 2);
    check_bytes((struct slipring_dtype){SLIPRING_FLOAT4_E2M1FN, 4, 2}, 1, (int64_t[]){3}, 0, 3);
    check_bytes((struct slipring_dtype){SLIPRING_FLOAT6_E2M3FN, 6, 1}, 1, (int64_t[]){4}, 0, 3);
    check_bytes((struct slipring_dtype){SLIPRING_FLOAT6_E2M3FN, 6, 1}, 1, (int64_t[]){5}, 0, 4);
    check_bytes((struct slipring_dtype){SLIPRING_UINT, 1, 1}, 1, (int64_t[]){9}, 0, 2);
    check_bytes((struct slipring_dtype){SLIPRING_UINT, 1, 1}, 1, (int64_t[]){INT64_MAX}, 0,
                UINT64_C(1) << 60);
}

static void test_limits(void)
{
    const int64_t big = INT64_C(1) << 62;
    check_bytes(u8, 1, (int64_t[]){INT64_MAX}, 0, INT64_MAX);
    check_bytes(u8, 2, (int64_t[]){big, 2}, -EOVERFLOW, 0);
    check_bytes(u8, 3, (int64_t[]){big, big, 4}, -EOVERFLOW, 0);
    check_bytes(f32, 1, (int64_t[]){big}, -EOVERFLOW, 0);
    check_bytes(f32, 1, (int64_t[]){INT64_MAX / 4}, 0, INT64_MAX / 4 * 4);
    check_bytes(f32, 1, (int64_t[]){INT64_MAX / 4 + 1}, -EOVERFLOW, 0);
    check_bytes(u8, 4, (int64_t[]){big, big, big, 0}, 0, 0);
    check_bytes((struct slipring_dtype){SLIPRING_INT, 128, UINT16_MAX}, 1,
                (int64_t[]){INT64_C(1) << 50}, -EOVERFLOW, 0);
}

static void test_refused(void)
{
    check_bytes(f32, 1, (int64_t[]){-1}, -EINVAL, 0);
    check_bytes(f32, 2, (int64_t[]){0, -1}, -EINVAL, 0);
    check_bytes(f32, 1, NULL, -EINVAL, 0);
    check_bytes(f32, 9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, -EINVAL, 0);
    check_bytes((struct slipring_dtype){3, 64, 1}, 0, NULL, -EINVAL, 0);
    check_bytes((struct slipring_dtype){18, 8, 1}, 0, NULL, -EINVAL, 0);
    check_bytes((struct slipring_dtype){SLIPRING_INT, 0, 1}, 0, NULL, -EINVAL, 0);
    check_bytes((struct slipring_dtype){SLIPRING_INT, 129, 1}, 0, NULL, -EINVAL, 0);
    check_bytes((struct slipring_dtype){SLIPRING_INT, 8, 0}, 0, NULL, -EINVAL, 0);
}

static void check_dtype(const char *text, const char *name, unsigned code, unsigned bits)
{
    struct slipring_dtype dtype = {99, 99, 99};
    char written[32];
    CHECK_OK(slipring_dtype_parse(text, &dtype));
    CHECK(dtype.code == code && dtype.bits == bits && dtype.lanes == 1);
    slipring_dtype_name(dtype, written, sizeof written);
    CHECK_STR(written, name);
    CHECK_OK(slipring_dtype_parse(written, &dtype));
    CHECK(dtype.code == code && dtype.bits == bits && dtype.lanes == 1);
}

static void test_names(void)
{
    check_dtype("i1", "int8", SLIPRING_INT, 8);
    check_dtype("i8", "int64", SLIPRING_INT, 64);
    check_dtype("u1", "uint8", SLIPRING_UINT, 8);
    check_dtype("u4", "uint32", SLIPRING_UINT, 32);
    check_dtype("f2", "float16", SLIPRING_FLOAT, 16);
    check_dtype("f8", "float64", SLIPRING_FLOAT, 64);
    check_dtype("c8", "complex64", SLIPRING_COMPLEX, 64);
    check_dtype("c16", "complex128", SLIPRING_COMPLEX, 128);
    check_dtype("b1", "bool", SLIPRING_BOOL, 8);
    check_dtype("bf16", "bfloat16", SLIPRING_BFLOAT, 16);
    check_dtype("float8_e4m3fn", "float8_e4m3fn", SLIPRING_FLOAT8_E4M3FN, 8);
    check_dtype("float6_e3m2fn", "float6_e3m2fn", SLIPRING_FLOAT6_E3M2FN, 6);
    check_dtype("float4_e2m1fn", "float4_e2m1fn", SLIPRING_FLOAT4_E2M1FN, 4);
    struct slipring_dtype dtype = {99, 99, 99};
    const char *bad[] = {"", "f", "f16", "float", "F4", " f4", "f4 ", "int7", "float32x4", "i16"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(slipring_dtype_parse(bad[i], &dtype), -EINVAL);
    }
    CHECK_EQ(slipring_dtype_parse(NULL, &dtype), -EINVAL);
    CHECK(dtype.code == 99 && dtype.bits == 99 && dtype.lanes == 99);
}

/* Every value has a name that fits 32 bytes; every valid code has one of its own. */
static void test_any_name(void)
{
    char written[64], short_one[4];
    for (unsigned code = 0; code < 256; code++) {
        for (unsigned bits = 0; bits < 256; bits++) {
            const struct slipring_dtype dtype = {(uint8_t)code, (uint8_t)bits, UINT16_MAX};
            memset(written, 'x', sizeof written);
            slipring_dtype_name(dtype, written, sizeof written);
            CHECK(strlen(written) > 0 && strlen(written) < 32);
        }
    }
    slipring_dtype_name((struct slipring_dtype){SLIPRING_FLOAT, 32, 4}, written, sizeof written);
    CHECK_STR(written, "float32x4");
    slipring_dtype_name((struct slipring_dtype){SLIPRING_INT, 4, 1}, written, sizeof written);
    CHECK_STR(written, "int4");
    slipring_dtype_name(f32, short_one, sizeof short_one);
    CHECK_STR(short_one, "flo");
    for (unsigned code = 0; code <= 17; code++) {
        struct slipring_dtype dtype = {(uint8_t)code, (uint8_t)(code >= 15 ? 6 : 8), 1}, back;
        dtype.bits = code == SLIPRING_FLOAT4_E2M1FN ? 4 : dtype.bits;
        slipring_dtype_name(dtype, written, sizeof written);
        if (code >= SLIPRING_BOOL) {
            CHECK_OK(slipring_dtype_parse(written, &back));
            CHECK(back.code == code && back.bits == dtype.bits);
        }
    }
}

static void test_field(void)
{
    struct slipring_field field, before;
    memset(&field, 0xaa, sizeof field);
    before = field;
    const int64_t shape[] = {2, 3};
    const char *long_name = "0123456789012345678901234567890"; /* 31 characters */
    CHECK_EQ(slipring_field_init(&field, "", "f4", 2, shape), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "01234567890123456789012345678901", "f4", 2, shape),
             -EINVAL);
    CHECK_EQ(slipring_field_init(&field, NULL, "f4", 2, shape), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "x", "g4", 2, shape), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "x", NULL, 2, shape), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "x", "f4", 2, NULL), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "x", "f4", 9, shape), -EINVAL);
    CHECK_EQ(slipring_field_init(&field, "x", "f4", 1, (int64_t[]){-1}), -EINVAL);
    CHECK_EQ(slipring_field_init(NULL, "x", "f4", 2, shape), -EINVAL);
    CHECK(memcmp(&field, &before, sizeof field) == 0);

    CHECK_OK(slipring_field_init(&field, long_name, "f4", 2, shape));
    CHECK_STR(field.name, long_name);
    CHECK(field.dtype.code == SLIPRING_FLOAT && field.dtype.bits == 32 && field.dtype.lanes == 1);
    CHECK(field.ndim == 2 && field.shape[0] == 2 && field.shape[1] == 3 && field.shape[2] == 0);
    CHECK_OK(slipring_field_init(&field, "s", "f8", 0, NULL));
    CHECK(field.ndim == 0 && field.name[1] == 0 && field.name[30] == 0);
}

int main(void)
{
    test_sizes();
    test_limits();
    test_refused();
    test_names();
    test_any_name();
    test_field();
    return 0;
}
