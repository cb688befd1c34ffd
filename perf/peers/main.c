/* SPDX-License-Identifier: Apache-2.0 */
/* The program around a peer's measures. */
#include "peer.h"

#include <string.h>

#define CHUNKS_MAX (UINT64_C(1) << 16)
#define TAILS_MAX (UINT64_C(1) << 18)

static void print(const char *kind, const struct samples *samples)
{
    for (uint64_t i = 0; i < samples->count; i++) {
        printf("%s %.9g\n", kind, samples->values[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s MEASURE quick|full\n", argv[0]);
        return 2;
    }
    for (const struct peer_measure *m = peer_measures; m->name != NULL; m++) {
        if (strcmp(m->name, argv[1]) == 0) {
            (void)ns_per_tick(); /* before the processes: they inherit it */
            const struct run run = {strcmp(argv[2], "quick") == 0, samples_new(CHUNKS_MAX),
                                    samples_new(TAILS_MAX)};
            const int code = m->run(&run, m->context);
            print("chunk", run.chunks);
            print("tail", run.tails);
            return code == 0 ? 0 : 1;
        }
    }
    fprintf(stderr, "%s: no measure %s\n", argv[0], argv[1]);
    return 2;
}
