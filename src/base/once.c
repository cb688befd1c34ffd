/* SPDX-License-Identifier: Apache-2.0 */
#include "base/once.h"

#include "base/os.h"
#include "base/sequence.h"

#define POLL_NS INT64_C(50000)

int slr_once(struct slr_once *once, int (*setup)(void))
{
    int code = 0;
    while (code == 0 && slr_load32_acquire(&once->done) == 0) { /* ONCE */
        const uint32_t me = (uint32_t)slr_os_pid();
        const uint32_t holder = slr_load32(&once->holder); /* hint; the swap decides */
        /* A holder of another pid was a thread of the parent, which did not come along. */
        if (holder == me || !slr_cas32(&once->holder, holder, me)) { /* ONCE */
            (void)slr_os_sleep(slr_os_now() + POLL_NS);
            continue;
        }
        if (slr_load32(&once->done) == 0) { /* ordered by the swap */
            code = setup();
            slr_store32_release(&once->done, code == 0); /* ONCE */
        }
        slr_store32_release(&once->holder, 0); /* ONCE */
    }
    return code;
}
