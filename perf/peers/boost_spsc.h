/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PERF_BOOST_SPSC_H
#define PERF_BOOST_SPSC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

size_t boost_spsc_bytes(void);
void boost_spsc_init(void *memory);
unsigned boost_spsc_put(void *queue, const void *lines, unsigned count);
unsigned boost_spsc_get(void *queue, void *lines, unsigned count);

#ifdef __cplusplus
}
#endif
#endif
