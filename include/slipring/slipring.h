/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * @mainpage slipring
 *
 * Moves tensors between processes on one machine without copying them. One producer writes into
 * fixed-size slots of a ring in shared memory; any number of consumers read the slots in place.
 *
 *     producer: slipring_ring_create()  slipring_producer_attach()  slipring_producer_claim()
 *               ... write ...           slipring_producer_publish()
 *     consumer: slipring_ring_open()    slipring_consumer_attach()  slipring_consumer_acquire()
 *               ... read ...            slipring_consumer_release()
 *
 * Handles belong to the process: any thread goes on with what another one made, also when that one
 * has ended. No call is ended half-way by pthread_cancel(): it takes effect after the call.
 *
 * A signal handler may try_claim, publish, try_acquire, try_copy, release and wake, with a handle
 * that nothing else uses at that moment: these allocate nothing, take no lock and keep errno (but
 * they may call a ring's log callback). It may jump out of them, and out of the calls that wait, if
 * the handle is then only detached. Nothing else may be called from a handler, or jumped out of.
 *
 * This header includes ring.h, producer.h, consumer.h and tensor.h. The fast path for a caller
 * that wants it inlined is slipring/inline.h.
 */
#ifndef SLIPRING_SLIPRING_H
#define SLIPRING_SLIPRING_H

#include <slipring/common.h>
#include <slipring/tensor.h>
#include <slipring/ring.h>
#include <slipring/producer.h>
#include <slipring/consumer.h>

#endif
