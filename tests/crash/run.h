/* SPDX-License-Identifier: Apache-2.0 */
/* One case of the matrix: an operation, in a ring, so full, killed or frozen. */
#ifndef RUN_H
#define RUN_H

#include "op.h"

extern struct options {
    bool full; /* all, however long it takes */
    bool seeded, verbose;
} options;

/* Run it in workers of its own and print a line of it; turn: which of the k-th steps, where only
 * every k-th is taken. What was tried and found is in page. True if it ran and found nothing. */
bool run_case(const struct variant *variant, const struct fill *fill, const struct op *op,
              bool freeze, uint32_t turn, struct page *page);

uint32_t violations(const struct page *page);

#endif
