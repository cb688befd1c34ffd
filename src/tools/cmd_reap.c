/* SPDX-License-Identifier: Apache-2.0 */
/* slipring reap: remove what dead processes left behind. */
#include "tool.h"

#include <inttypes.h>
#include <stddef.h>

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

int tool_reap(const struct tool_command *self, int argc, char **argv)
{
    struct slipring_reaped reaped = {0};
    struct slipring_error error = {0};
    bool json = false;
    int status = TOOL_OK;

    const int first = tool_options(self, argc, argv, 0, 1, &json, &status);
    if (first < 0) {
        return status;
    }
    const char *name = first < argc ? argv[first] : NULL;
    const int code = slipring_ring_reap(name, &reaped, &error);
    if (code < 0) {
        return tool_fail(name != NULL ? name : "cannot reap", code, &error);
    }
    if (json) {
        struct tool_json out = {0};
        tool_json_open(&out, NULL, '{');
        tool_json_count(&out, "members", reaped.members);
        tool_json_count(&out, "rings", reaped.rings);
        tool_json_count(&out, "litter", reaped.litter);
        tool_json_close(&out, '}');
        return TOOL_OK;
    }
    printf("freed %" PRIu32 " member%s, removed %" PRIu32 " vanishing ring%s and %" PRIu32
           " half-made object%s\n",
           reaped.members, plural(reaped.members), reaped.rings, plural(reaped.rings),
           reaped.litter, plural(reaped.litter));
    return TOOL_OK;
}
