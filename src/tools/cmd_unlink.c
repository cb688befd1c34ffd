/* SPDX-License-Identifier: Apache-2.0 */
/* slipring unlink: remove names of rings. */
#include "tool.h"

#include <limits.h>

int tool_unlink(const struct tool_command *self, int argc, char **argv)
{
    bool json = false;
    int status = TOOL_OK;

    const int first = tool_options(self, argc, argv, 1, INT_MAX, &json, &status);
    if (first < 0) {
        return status;
    }
    for (int i = first; i < argc; i++) {
        struct slipring_error error = {0};
        const int code = slipring_ring_unlink(argv[i], &error);
        if (code < 0) {
            status = tool_fail(argv[i], code, &error);
        }
    }
    return status;
}
