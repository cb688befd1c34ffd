/* SPDX-License-Identifier: Apache-2.0 */
/* The pollable descriptor: a helper thread that sleeps where the consumer would, and writes an
 * eventfd instead of returning. Costs nothing until asked for. */
#ifndef SLR_POLLABLE_H
#define SLR_POLLABLE_H

#include "ring/handle.h"

/* Stop the thread and close the descriptor; nothing if there is none. */
void slr_poll_end(struct slipring_consumer *consumer);

#endif
