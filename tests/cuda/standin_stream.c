/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in driver: streams, each a thread that runs its operations late, and events. */
#define _GNU_SOURCE
#include "standin_inner.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOT_READY 600

enum kind { COPY, WRITE, WAIT, CALL, RECORD, LAUNCH };

struct op {
    struct op *next;
    enum kind kind;
    /* COPY: rows of width bytes; the host's side is a pointer, the device's an address */
    bool to_device, staged, pageable;
    uint8_t *host;
    uint64_t address;
    size_t host_pitch, device_pitch, width, height;
    uint64_t value;
    void (*function)(void *user);
    void *user;
    struct event *event;
    uint64_t ticket;
    const struct standin_kernel *kernel;
    void *parameters[STANDIN_PARAMETERS];
};

struct stream {
    struct stream *next;
    struct op *first, **last;
    bool held, capturing, spoilt, busy, ending, ended;
    pthread_t thread;
};

struct event {
    uint64_t wanted, done; /* tickets */
    unsigned references;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct stream *streams, *standard;
static uint64_t tickets, seed = 1;
static unsigned delay_us = 200;
static unsigned captures;         /* streams that are captured */
static __thread int capture_mode; /* 0: of no captures of its own, and in the way of others' */

/* ---- running ---- */

static void pause_randomly(void)
{
    pthread_mutex_lock(&mutex);
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const uint64_t us = delay_us == 0 ? 0 : (seed >> 33) % (delay_us + 1);
    pthread_mutex_unlock(&mutex);
    if (us != 0) {
        const struct timespec time = {.tv_sec = (time_t)(us / 1000000),
                                      .tv_nsec = (long)(us % 1000000 * 1000)};
        (void)nanosleep(&time, NULL);
    }
}

static void copy(const struct op *op)
{
    for (size_t row = 0; row < op->height; row++) {
        uint8_t *host = op->host + row * op->host_pitch;
        uint8_t *device = standin_translate(op->address + row * op->device_pitch, op->width);
        if (device == NULL ||
            (!op->staged && !op->pageable && standin_range(host, op->width) != 1)) {
            standin_fault(700); /* freed or unregistered under the copy */
            return;
        }
        memcpy(op->to_device ? device : host, op->to_device ? host : device, op->width);
    }
}

static uint64_t *word_of(const struct op *op)
{
    uint64_t *word = standin_translate(op->address, 8);
    if (word == NULL) {
        standin_fault(700);
    }
    return word;
}

static void run(const struct op *op)
{
    uint64_t *word;
    switch (op->kind) {
    case COPY:
        copy(op);
        break;
    case WRITE:
        word = word_of(op);
        if (word != NULL) {
            __atomic_store_n(word, op->value, __ATOMIC_RELEASE);
        }
        break;
    case CALL:
        op->function(op->user);
        break;
    case LAUNCH:
        op->kernel->run(op->parameters);
        break;
    case WAIT:
    case RECORD:
        break;
    }
}

/* May the first operation of a stream run now? Under the mutex. */
static bool may_run(const struct stream *stream)
{
    if (stream->first == NULL || stream->held || standin_lost() != 0) {
        return false;
    }
    if (stream->first->kind != WAIT) {
        return true;
    }
    const uint64_t *word = standin_translate(stream->first->address, 8);
    return word == NULL || (int64_t)(__atomic_load_n(word, __ATOMIC_ACQUIRE) -
                                     stream->first->value) >= 0; /* cyclic */
}

static void unhold_event(struct event *event)
{
    if (event != NULL && --event->references == 0) {
        free(event);
    }
}

static void free_op(struct op *op)
{
    unhold_event(op->event);
    if (op->staged) {
        free(op->host);
    }
    for (unsigned i = 0; i < STANDIN_PARAMETERS; i++) {
        free(op->parameters[i]);
    }
    free(op);
}

/* What will never run. */
static void drop_all(struct stream *stream)
{
    while (stream->first != NULL) {
        struct op *op = stream->first;
        stream->first = op->next;
        free_op(op);
    }
    stream->last = &stream->first;
}

static void wait_a_little(void)
{
    struct timespec until; /* words of others change without a signal */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&changed, &mutex, &until);
}

static void *play(void *context)
{
    struct stream *stream = context;
    pthread_mutex_lock(&mutex);
    while (!stream->ending || (stream->first != NULL && standin_lost() == 0)) {
        if (!may_run(stream)) {
            if (stream->first == NULL || stream->held || standin_lost() != 0) {
                pthread_cond_wait(&changed, &mutex);
            } else {
                wait_a_little();
            }
            continue;
        }
        struct op *op = stream->first;
        stream->first = op->next;
        stream->last = stream->first == NULL ? &stream->first : stream->last;
        stream->busy = true;
        pthread_mutex_unlock(&mutex);
        pause_randomly();
        if (standin_lost() == 0) {
            run(op);
        }
        pthread_mutex_lock(&mutex);
        stream->busy = false;
        if (op->kind == RECORD && standin_lost() == 0) {
            op->event->done = op->ticket;
        }
        free_op(op);
        pthread_cond_broadcast(&changed);
    }
    drop_all(stream); /* of a lost context */
    stream->ended = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

void standin_stir(void)
{
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

void standin_settle(void)
{
    pthread_mutex_lock(&mutex);
    for (struct stream *s = streams; s != NULL; s = s->next) {
        while (s->busy) {
            pthread_cond_wait(&changed, &mutex);
        }
        drop_all(s);
    }
    pthread_mutex_unlock(&mutex);
}

/* ---- streams ---- */

static struct stream *new_stream(void)
{
    struct stream *stream = calloc(1, sizeof *stream);
    stream->last = &stream->first;
    stream->next = streams;
    streams = stream;
    pthread_create(&stream->thread, NULL, play, stream);
    return stream;
}

/* Under the mutex. */
static struct stream *stream_of(void *handle)
{
    if (handle != NULL) {
        return handle;
    }
    if (standard == NULL) {
        standard = new_stream();
    }
    return standard;
}

void standin_hold(void *handle, bool held)
{
    pthread_mutex_lock(&mutex);
    stream_of(handle)->held = held;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static int capture(void *handle, bool capturing)
{
    pthread_mutex_lock(&mutex);
    struct stream *stream = stream_of(handle);
    const bool spoilt = stream->spoilt;
    captures += (unsigned)capturing - (unsigned)stream->capturing;
    stream->capturing = capturing;
    stream->spoilt = false;
    pthread_mutex_unlock(&mutex);
    return !capturing && spoilt ? 901 : 0;
}

void standin_capture(void *handle, bool capturing)
{
    (void)capture(handle, capturing);
}

int standin_unsafe(void)
{
    int code = 0;
    pthread_mutex_lock(&mutex);
    if (captures != 0 && capture_mode == 0) {
        for (struct stream *s = streams; s != NULL; s = s->next) {
            s->spoilt = s->spoilt || s->capturing;
        }
        code = 900;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int begin_capture(void *handle, int mode)
{
    const int code = standin_enter("cuStreamBeginCapture", true);
    return code != 0 ? code : mode != 0 ? 801 : capture(handle, true);
}

static int end_capture(void *handle, void **graph)
{
    static int the_graph;
    const int code = standin_enter("cuStreamEndCapture", true);
    const int ended = code != 0 ? code : capture(handle, false);
    *graph = ended == 0 ? &the_graph : NULL;
    return ended;
}

static int graph_destroy(void *graph)
{
    const int code = standin_enter("cuGraphDestroy", true);
    return code != 0 ? code : graph == NULL ? 1 : 0;
}

static int exchange_capture_mode(int *mode)
{
    const int code = standin_enter("cuThreadExchangeStreamCaptureMode", false);
    const int before = capture_mode;
    if (code == 0) {
        capture_mode = *mode;
        *mode = before;
    }
    return code;
}

void standin_delay(unsigned most_us, uint64_t first)
{
    pthread_mutex_lock(&mutex);
    delay_us = most_us;
    seed = first;
    pthread_mutex_unlock(&mutex);
}

/* Put a copy of the operation at the stream's end. */
static int put(void *handle, const struct op *wanted)
{
    struct op *op = malloc(sizeof *op);
    *op = *wanted;
    op->next = NULL;
    pthread_mutex_lock(&mutex);
    struct stream *stream = stream_of(handle);
    const int code = stream->capturing ? 900 : 0;
    if (code == 0) {
        if (op->event != NULL) {
            op->event->references++;
            op->event->wanted = ++tickets;
            op->ticket = tickets;
        }
        *stream->last = op;
        stream->last = &op->next;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&mutex);
    if (code != 0) {
        if (op->staged) {
            free(op->host);
        }
        free(op);
    }
    return code;
}

static int stream_create(void **out, unsigned flags)
{
    (void)flags;
    const int code = standin_enter("cuStreamCreate", true);
    if (code == 0) {
        pthread_mutex_lock(&mutex);
        *out = new_stream();
        pthread_mutex_unlock(&mutex);
    }
    return code;
}

static int stream_destroy(void *handle)
{
    const int code = standin_enter("cuStreamDestroy", false);
    struct stream *stream = handle;
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&mutex);
    stream->ending = true; /* what is pending runs still */
    stream->held = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    pthread_join(stream->thread, NULL);
    pthread_mutex_lock(&mutex);
    for (struct stream **at = &streams; *at != NULL; at = &(*at)->next) {
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&mutex);
    free(stream);
    return 0;
}

static int stream_query(void *handle)
{
    int code = standin_enter("cuStreamQuery", true);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&mutex);
    const struct stream *stream = stream_of(handle);
    const bool idle = stream->first == NULL && !stream->busy;
    pthread_mutex_unlock(&mutex);
    return idle ? 0 : NOT_READY;
}

/* Until it has run what it has. */
static int run_out(void *handle)
{
    pthread_mutex_lock(&mutex);
    const struct stream *stream = stream_of(handle);
    while ((stream->first != NULL || stream->busy) && standin_lost() == 0) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    return standin_lost();
}

static int stream_synchronize(void *handle)
{
    int code = standin_enter("cuStreamSynchronize", true);
    code = code != 0 ? code : standin_unsafe();
    return code != 0 ? code : run_out(handle);
}

static int stream_capturing(void *handle, int *status)
{
    const int code = standin_enter("cuStreamIsCapturing", true);
    if (code == 0) {
        pthread_mutex_lock(&mutex);
        *status = stream_of(handle)->capturing;
        pthread_mutex_unlock(&mutex);
    }
    return code;
}

/* ---- operations ---- */

struct copy_2d {
    size_t src_x, src_y;
    uint32_t src_type;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    uint32_t dst_type;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch, width, height;
};

static int copy_rows(struct op op, void *handle)
{
    const size_t host_bytes = (op.height - 1) * op.host_pitch + op.width;
    const size_t device_bytes = (op.height - 1) * op.device_pitch + op.width;
    const int range = standin_range(op.host, host_bytes);
    if (range < 0 || standin_translate(op.address, device_bytes) == NULL) {
        return 1; /* straddles, or no device's address */
    }
    if (range == 0 && !op.to_device) { /* pageable: written before the call returns */
        op.pageable = true;
        const int code = put(handle, &op);
        return code != 0 ? code : run_out(handle);
    }
    if (range == 0) { /* pageable: read before the call returns */
        uint8_t *staged = malloc(host_bytes);
        memcpy(staged, op.host, host_bytes);
        op.host = staged;
        op.staged = true;
    }
    return put(handle, &op);
}

static int copy_to_device(uint64_t to, const void *from, size_t bytes, void *stream)
{
    const int code = standin_enter("cuMemcpyHtoDAsync", true);
    return code != 0 || bytes == 0 ? code
                                   : copy_rows((struct op){.kind = COPY,
                                                           .to_device = true,
                                                           .host = (uint8_t *)(uintptr_t)from,
                                                           .address = to,
                                                           .width = bytes,
                                                           .height = 1},
                                               stream);
}

static int copy_to_host(void *to, uint64_t from, size_t bytes, void *stream)
{
    const int code = standin_enter("cuMemcpyDtoHAsync", true);
    return code != 0 || bytes == 0
               ? code
               : copy_rows(
                     (struct op){
                         .kind = COPY, .host = to, .address = from, .width = bytes, .height = 1},
                     stream);
}

static int copy_2d(const struct copy_2d *c, void *stream)
{
    const int code = standin_enter("cuMemcpy2DAsync", true);
    if (code != 0 || c->width == 0 || c->height == 0) {
        return code;
    }
    const bool to_device = c->src_type == 1 && c->dst_type == 2;
    if (!to_device && !(c->src_type == 2 && c->dst_type == 1)) {
        return 1;
    }
    return copy_rows(
        (struct op){.kind = COPY,
                    .to_device = to_device,
                    .host = (uint8_t *)(uintptr_t)(to_device ? c->src_host : c->dst_host),
                    .address = to_device ? c->dst_device : c->src_device,
                    .host_pitch = to_device ? c->src_pitch : c->dst_pitch,
                    .device_pitch = to_device ? c->dst_pitch : c->src_pitch,
                    .width = c->width,
                    .height = c->height},
        stream);
}

static int word_op(enum kind kind, void *stream, uint64_t address, uint64_t value, unsigned flags)
{
    if (address % 8 != 0 || flags != 0 || standin_translate(address, 8) == NULL) {
        return 1;
    }
    return put(stream, &(struct op){.kind = kind, .address = address, .value = value});
}

static int write_value(void *stream, uint64_t address, uint64_t value, unsigned flags)
{
    const int code = standin_enter("cuStreamWriteValue64", true);
    return code != 0 ? code : word_op(WRITE, stream, address, value, flags);
}

static int wait_value(void *stream, uint64_t address, uint64_t value, unsigned flags)
{
    const int code = standin_enter("cuStreamWaitValue64", true);
    return code != 0 ? code : word_op(WAIT, stream, address, value, flags);
}

struct mem_op {
    uint32_t operation;
    uint64_t address, value;
    uint32_t flags;
    uint64_t alias, pad;
};

/* One that is made to fail puts half of them on the stream before. */
static int mem_ops(void *stream, unsigned count, const struct mem_op *ops, unsigned flags)
{
    const int failed = standin_enter("cuStreamBatchMemOp", true);
    if (count >= 256 || flags != 0 || (failed != 0 && standin_lost() != 0)) {
        return failed != 0 ? failed : 1;
    }
    int code = 0;
    for (unsigned i = 0; i < (failed != 0 ? count / 2 : count) && code == 0; i++) {
        code = ops[i].operation == 5 /* a write, of 64 bits; 4: a wait */
                   ? word_op(WRITE, stream, ops[i].address, ops[i].value, ops[i].flags)
                   : ops[i].operation == 4
                         ? word_op(WAIT, stream, ops[i].address, ops[i].value, ops[i].flags)
                         : 1;
    }
    return failed != 0 ? failed : code;
}

static int host_function(void *stream, void (*function)(void *user), void *user)
{
    const int code = standin_enter("cuLaunchHostFunc", true);
    return code != 0 ? code
                     : put(stream, &(struct op){.kind = CALL, .function = function, .user = user});
}

static int launch(const struct standin_kernel *kernel, unsigned grid_x, unsigned grid_y,
                  unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                  unsigned shared, void *stream, void **parameters, void **extra)
{
    int code = standin_enter("cuLaunchKernel", true);
    if (code != 0 || grid_x * grid_y * grid_z == 0 || block_x * block_y * block_z == 0 ||
        shared != 0 || extra != NULL || kernel == NULL) {
        return code != 0 ? code : 1;
    }
    struct op op = {.kind = LAUNCH, .kernel = kernel};
    for (unsigned i = 0; kernel->sizes[i] != 0; i++) {
        op.parameters[i] = malloc(kernel->sizes[i]);
        memcpy(op.parameters[i], parameters[i], kernel->sizes[i]);
    }
    code = put(stream, &op);
    for (unsigned i = 0; code != 0 && i < STANDIN_PARAMETERS; i++) {
        free(op.parameters[i]);
    }
    return code;
}

/* ---- events ---- */

static int event_create(struct event **out, unsigned flags)
{
    const int code = standin_enter("cuEventCreate", true);
    (void)flags;
    if (code == 0) {
        *out = calloc(1, sizeof **out);
        (*out)->references = 1;
    }
    return code;
}

static int event_record(struct event *event, void *stream)
{
    const int code = standin_enter("cuEventRecord", true);
    return code != 0 ? code : put(stream, &(struct op){.kind = RECORD, .event = event});
}

static int event_query(const struct event *event)
{
    int code = standin_enter("cuEventQuery", true);
    code = code != 0 ? code : standin_unsafe();
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&mutex);
    const bool done = event->done == event->wanted;
    pthread_mutex_unlock(&mutex);
    return done ? 0 : NOT_READY;
}

static int event_destroy(struct event *event)
{
    const int code = standin_enter("cuEventDestroy", false);
    pthread_mutex_lock(&mutex);
    unhold_event(event);
    pthread_mutex_unlock(&mutex);
    return code;
}

void *standin_stream_entry(const char *name)
{
    static const struct {
        const char *name;
        void (*entry)(void);
    } entries[] = {
#define E(name, function) {name, (void (*)(void))function}
        E("cuStreamCreate", stream_create),
        E("cuStreamDestroy", stream_destroy),
        E("cuStreamQuery", stream_query),
        E("cuStreamSynchronize", stream_synchronize),
        E("cuStreamIsCapturing", stream_capturing),
        E("cuStreamBeginCapture", begin_capture),
        E("cuStreamEndCapture", end_capture),
        E("cuGraphDestroy", graph_destroy),
        E("cuThreadExchangeStreamCaptureMode", exchange_capture_mode),
        E("cuLaunchKernel", launch),
        E("cuMemcpyHtoDAsync", copy_to_device),
        E("cuMemcpyDtoHAsync", copy_to_host),
        E("cuMemcpy2DAsync", copy_2d),
        E("cuStreamWriteValue64", write_value),
        E("cuStreamWaitValue64", wait_value),
        E("cuStreamBatchMemOp", mem_ops),
        E("cuLaunchHostFunc", host_function),
        E("cuEventCreate", event_create),
        E("cuEventRecord", event_record),
        E("cuEventQuery", event_query),
        E("cuEventDestroy", event_destroy),
    };
    void *found = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries && found == NULL; i++) {
        if (strcmp(entries[i].name, name) == 0) {
            memcpy(&found, &entries[i].entry, sizeof found);
        }
    }
    return found;
}
