/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of a GPU: thirteen questions on which libslipring-cuda relies, and which no stand-in can
 * answer. Each runs in a process of its own that has not used CUDA yet.
 */
#ifndef GPU_H
#define GPU_H

#include "cuda_test.h"

/* What was measured or found goes into the answer; at most one line of text in all. */
void said(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The answer is no, for a reason; the question goes on. */
void denied(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* It cannot be asked here, for a reason; ends the process. */
void not_asked(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Ask a question, in a process of its own with its own environment; true: the answer is yes, which is
 * the program's exit code otherwise. */
bool ask_again(unsigned number);

/* How long what repeats goes on: SLIPRING_GPU_SECONDS, or 10; on the stand-in a moment. */
int64_t gpu_while_ns(void);

/* ---- what the questions share (gpu_scene.c) ---- */

#define GPU_SLOTS 8u
#define GPU_BYTES (UINT64_C(1) << 20)

/* Nothing that a stream has behind a gate runs until it is opened, by whichever process: its word lies
 * in memory that children share. */
struct gate {
    uint64_t *word;
    uint64_t address, value;
};
struct gate gate_new(void);       /* before processes are started */
void gate_use(struct gate *gate); /* in the process whose streams wait for it */
void gate_close(struct gate *gate, void *stream);
void gate_open(const struct gate *gate); /* all that were closed so far */

struct scene {
    struct slipring_ring *ring;
    struct slipring_cuda *cuda;
    struct slipring_producer *producer;
    struct slipring_consumer *consumer;
    uint64_t device; /* memory for all slots */
    void *stream;
};
/* Registered, with a stream and memory of the device. CUDA is used from here on. */
void scene_open(struct scene *scene);
void scene_close(struct scene *scene);

/* The messages from a sequence on are in the device's memory, one after another. */
bool on_device(const struct scene *scene, uint64_t sequence, uint64_t slots);
void publish(struct slipring_producer *producer, uint64_t slots);
int try_claim(struct slipring_producer *producer, uint64_t slots); /* and abort */
/* The kernels of device_kernel.cu, or not_asked(). */
void *gpu_kernel(const char *name);
void gpu_launch(void *kernel, unsigned threads, void *stream, void **parameters);
double ms_since(int64_t ns);

/* ---- the questions ---- */

void gpu_protected(void);
void gpu_stores(void);
void gpu_publishes(void);
void gpu_evicts(void);
void gpu_outlived(void);
void gpu_refused(void);
void gpu_forks(void);
void gpu_killed(void);
void gpu_reads(void);
void gpu_captured(void);
void gpu_lost(void);
void gpu_handed_on(void);
void gpu_mps(void);

#endif
