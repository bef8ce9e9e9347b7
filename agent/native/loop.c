/*
 * Owns the event loop: epoll, timers, promise jobs after every callback. An event that was fetched for a descriptor
 * which a callback of the same batch has unwatched (and perhaps closed and opened anew) is dropped: each registration
 * has a generation.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

#define BATCH 128
#define MAX_WATCHED_FD (1 << 20)
#define MAX_TIMERS (1 << 20)
#define MAX_DELAY_MS 1e12
#define STATUS_REPORTER_FAILED 70

struct watch {
    JSValue ready;
    uint32_t generation;
    int active;
};

struct timer {
    JSValue fire;
    double due_ms;
    uint64_t order;
    uint32_t id;
};

static struct {
    int epoll;
    struct watch *watches;
    int watch_capacity;
    int watch_count;
    /* A binary heap by due time; few timers are cancelled, so cancelling searches. */
    struct timer *timers;
    uint32_t timer_count;
    uint32_t timer_capacity;
    uint32_t next_timer_id;
    uint64_t next_order;
    int running;
    int stopping;
    int failed;
    JSValue on_error;
    JSValue *rejections; /* pairs: promise, reason */
    uint32_t rejection_count;
    uint32_t rejection_capacity;
} loop = {.epoll = -1, .next_timer_id = 1};

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1000.0 + (double)time.tv_nsec / 1e6;
}

int loop_failed(void)
{
    return loop.failed;
}

/* The pending exception goes to whoever runs the loop, or to stderr. */
static void report(JSContext *ctx)
{
    JSValue error, result;

    if (!loop.running) {
        loop.failed = 1;
        print_exception(ctx);
        return;
    }
    error = JS_GetException(ctx);
    result = JS_Call(ctx, loop.on_error, JS_UNDEFINED, 1, (JSValueConst *)&error);
    JS_FreeValue(ctx, error);
    if (JS_IsException(result)) {
        print_exception(ctx);
        _exit(STATUS_REPORTER_FAILED);
    }
    JS_FreeValue(ctx, result);
}

static void track_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, JS_BOOL is_handled, void *opaque)
{
    uint32_t i;

    (void)opaque;
    if (!is_handled) {
        if (loop.rejection_count == loop.rejection_capacity) {
            uint32_t capacity = loop.rejection_capacity ? loop.rejection_capacity * 2 : 16;
            JSValue *larger = realloc(loop.rejections, capacity * 2 * sizeof *larger);
            if (!larger)
                return;
            loop.rejections = larger;
            loop.rejection_capacity = capacity;
        }
        loop.rejections[loop.rejection_count * 2] = JS_DupValue(ctx, promise);
        loop.rejections[loop.rejection_count * 2 + 1] = JS_DupValue(ctx, reason);
        loop.rejection_count++;
        return;
    }
    for (i = 0; i < loop.rejection_count; i++) {
        JSValue *pair = &loop.rejections[i * 2];
        if (JS_VALUE_GET_PTR(pair[0]) == JS_VALUE_GET_PTR(promise)) {
            JS_FreeValue(ctx, pair[0]);
            JS_FreeValue(ctx, pair[1]);
            memmove(pair, pair + 2, (loop.rejection_count - i - 1) * 2 * sizeof *pair);
            loop.rejection_count--;
            return;
        }
    }
}

void loop_drain_jobs(JSContext *ctx)
{
    JSContext *job_context;
    int result;

    for (;;) {
        while ((result = JS_ExecutePendingJob(JS_GetRuntime(ctx), &job_context)) != 0)
            if (result < 0)
                report(ctx);
        if (loop.rejection_count == 0)
            return;
        loop.rejection_count--;
        JS_FreeValue(ctx, loop.rejections[loop.rejection_count * 2]);
        JS_Throw(ctx, loop.rejections[loop.rejection_count * 2 + 1]);
        report(ctx);
    }
}

static void call_back(JSContext *ctx, JSValueConst callback, int argc, JSValueConst *argv)
{
    JSValue result = JS_Call(ctx, callback, JS_UNDEFINED, argc, argv);

    if (JS_IsException(result))
        report(ctx);
    JS_FreeValue(ctx, result);
    loop_drain_jobs(ctx);
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

static int reserve_watch(JSContext *ctx, int fd)
{
    int capacity = loop.watch_capacity ? loop.watch_capacity : 64;
    struct watch *larger;

    if (fd < loop.watch_capacity)
        return 0;
    while (capacity <= fd)
        capacity *= 2;
    larger = realloc(loop.watches, (size_t)capacity * sizeof *larger);
    if (!larger) {
        JS_ThrowOutOfMemory(ctx);
        return -1;
    }
    memset(larger + loop.watch_capacity, 0, (size_t)(capacity - loop.watch_capacity) * sizeof *larger);
    loop.watches = larger;
    loop.watch_capacity = capacity;
    return 0;
}

static JSValue throw_errno(JSContext *ctx, const char *operation, int fd)
{
    return JS_ThrowInternalError(ctx, "%s descriptor %d: %s", operation, fd, strerrorname_np(errno));
}

static int control(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};
    event.data.u64 = (uint64_t)loop.watches[fd].generation << 32 | (uint32_t)fd;
    return epoll_ctl(loop.epoll, operation, fd, &event);
}

static int watch_arguments(JSContext *ctx, int argc, JSValueConst *argv, int *fd, uint32_t *events)
{
    int64_t number, mask = 0;

    if (value_integer(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, 0, MAX_WATCHED_FD - 1, &number) ||
        (events && value_integer(ctx, argc > 1 ? argv[1] : JS_UNDEFINED, 0, UINT32_MAX, &mask)))
        return -1;
    *fd = (int)number;
    if (events)
        *events = (uint32_t)mask;
    return 0;
}

static JSValue loop_watch(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int fd;
    uint32_t events;

    (void)this_value;
    if (watch_arguments(ctx, argc, argv, &fd, &events) || reserve_watch(ctx, fd))
        return JS_EXCEPTION;
    if (argc < 3 || !JS_IsFunction(ctx, argv[2]))
        return JS_ThrowTypeError(ctx, "watch: a function is needed");
    if (loop.watches[fd].active)
        return JS_ThrowTypeError(ctx, "watch: descriptor %d is watched already", fd);
    loop.watches[fd].generation++;
    if (control(EPOLL_CTL_ADD, fd, events))
        return throw_errno(ctx, "watch", fd);
    loop.watches[fd].ready = JS_DupValue(ctx, argv[2]);
    loop.watches[fd].active = 1;
    loop.watch_count++;
    return JS_UNDEFINED;
}

static JSValue loop_rewatch(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int fd;
    uint32_t events;

    (void)this_value;
    if (watch_arguments(ctx, argc, argv, &fd, &events))
        return JS_EXCEPTION;
    if (fd >= loop.watch_capacity || !loop.watches[fd].active)
        return JS_ThrowTypeError(ctx, "rewatch: descriptor %d is not watched", fd);
    if (control(EPOLL_CTL_MOD, fd, events))
        return throw_errno(ctx, "rewatch", fd);
    return JS_UNDEFINED;
}

static JSValue loop_unwatch(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int fd;

    (void)this_value;
    if (watch_arguments(ctx, argc, argv, &fd, NULL))
        return JS_EXCEPTION;
    if (fd >= loop.watch_capacity || !loop.watches[fd].active)
        return JS_UNDEFINED;
    loop.watches[fd].active = 0;
    loop.watches[fd].generation++;
    loop.watch_count--;
    /* Closed already: then epoll has forgotten it by itself. */
    control(EPOLL_CTL_DEL, fd, 0);
    JS_FreeValue(ctx, loop.watches[fd].ready);
    return JS_UNDEFINED;
}

static void dispatch(JSContext *ctx, const struct epoll_event *event)
{
    uint32_t fd = (uint32_t)event->data.u64, generation = (uint32_t)(event->data.u64 >> 32);
    struct watch *watch;
    JSValue ready, events;

    if (fd >= (uint32_t)loop.watch_capacity)
        return;
    watch = &loop.watches[fd];
    if (!watch->active || watch->generation != generation)
        return;
    /* The callback may unwatch itself. */
    ready = JS_DupValue(ctx, watch->ready);
    events = JS_NewInt64(ctx, event->events);
    call_back(ctx, ready, 1, (JSValueConst *)&events);
    JS_FreeValue(ctx, ready);
}

/* --- timers ----------------------------------------------------------------------------------------------------- */

static int earlier(const struct timer *a, const struct timer *b)
{
    return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->order < b->order);
}

static void sift_up(uint32_t at)
{
    struct timer moved = loop.timers[at];
    while (at > 0 && earlier(&moved, &loop.timers[(at - 1) / 2])) {
        loop.timers[at] = loop.timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    loop.timers[at] = moved;
}

static void sift_down(uint32_t at)
{
    struct timer moved = loop.timers[at];
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= loop.timer_count)
            break;
        if (child + 1 < loop.timer_count && earlier(&loop.timers[child + 1], &loop.timers[child]))
            child++;
        if (!earlier(&loop.timers[child], &moved))
            break;
        loop.timers[at] = loop.timers[child];
        at = child;
    }
    loop.timers[at] = moved;
}

static JSValue remove_timer(uint32_t at)
{
    JSValue fire = loop.timers[at].fire;
    loop.timer_count--;
    if (at < loop.timer_count) {
        loop.timers[at] = loop.timers[loop.timer_count];
        sift_down(at);
        sift_up(at);
    }
    return fire;
}

static JSValue loop_timer_start(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    double delay;
    struct timer *timer;

    (void)this_value;
    if (argc < 2 || !JS_IsNumber(argv[0]) || !JS_IsFunction(ctx, argv[1]))
        return JS_ThrowTypeError(ctx, "timer: a number of milliseconds and a function are needed");
    if (JS_ToFloat64(ctx, &delay, argv[0]))
        return JS_EXCEPTION;
    if (isnan(delay))
        return JS_ThrowTypeError(ctx, "timer: the delay is not a number");
    if (loop.timer_count == loop.timer_capacity) {
        uint32_t capacity = loop.timer_capacity ? loop.timer_capacity * 2 : 32;
        struct timer *larger = capacity > MAX_TIMERS ? NULL : realloc(loop.timers, capacity * sizeof *larger);
        if (!larger)
            return JS_ThrowOutOfMemory(ctx);
        loop.timers = larger;
        loop.timer_capacity = capacity;
    }
    timer = &loop.timers[loop.timer_count];
    timer->fire = JS_DupValue(ctx, argv[1]);
    timer->due_ms = now_ms() + fmin(fmax(delay, 0), MAX_DELAY_MS);
    timer->order = loop.next_order++;
    timer->id = loop.next_timer_id++;
    delay = timer->id;
    sift_up(loop.timer_count++);
    return JS_NewFloat64(ctx, delay);
}

static JSValue loop_timer_cancel(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int64_t id;
    uint32_t i;

    (void)this_value;
    if (value_integer(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, 0, UINT32_MAX, &id))
        return JS_EXCEPTION;
    for (i = 0; i < loop.timer_count; i++) {
        if (loop.timers[i].id == id) {
            JS_FreeValue(ctx, remove_timer(i));
            break;
        }
    }
    return JS_UNDEFINED;
}

/* Fires what is due, but not what a callback starts meanwhile: descriptors have their turn in between. */
static void fire_due(JSContext *ctx)
{
    double now;
    uint64_t limit = loop.next_order;

    if (loop.timer_count == 0)
        return;
    now = now_ms();
    while (!loop.stopping && loop.timer_count > 0 && loop.timers[0].due_ms <= now && loop.timers[0].order < limit) {
        JSValue fire = remove_timer(0);
        call_back(ctx, fire, 0, NULL);
        JS_FreeValue(ctx, fire);
    }
}

static int timeout_ms(void)
{
    double left;

    if (loop.timer_count == 0)
        return -1;
    left = ceil(loop.timers[0].due_ms - now_ms());
    return left <= 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static JSValue loop_run(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct epoll_event events[BATCH];
    int count, i;

    (void)this_value;
    if (argc < 1 || !JS_IsFunction(ctx, argv[0]))
        return JS_ThrowTypeError(ctx, "run: a function is needed");
    if (loop.running)
        return JS_ThrowTypeError(ctx, "run: the loop runs already");
    loop.on_error = JS_DupValue(ctx, argv[0]);
    loop.running = 1;
    loop.stopping = 0;
    loop_drain_jobs(ctx);
    while (!loop.stopping && (loop.watch_count > 0 || loop.timer_count > 0)) {
        count = epoll_wait(loop.epoll, events, BATCH, timeout_ms());
        fire_due(ctx);
        for (i = 0; i < count && !loop.stopping; i++)
            dispatch(ctx, &events[i]);
    }
    loop.running = 0;
    JS_FreeValue(ctx, loop.on_error);
    return JS_UNDEFINED;
}

static JSValue loop_stop(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)ctx, (void)this_value, (void)argc, (void)argv;
    loop.stopping = 1;
    return JS_UNDEFINED;
}

static JSValue loop_now(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    return JS_NewFloat64(ctx, now_ms());
}

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_DEF("watch", 3, loop_watch),
    JS_CFUNC_DEF("rewatch", 2, loop_rewatch),
    JS_CFUNC_DEF("unwatch", 1, loop_unwatch),
    JS_CFUNC_DEF("timerStart", 2, loop_timer_start),
    JS_CFUNC_DEF("timerCancel", 1, loop_timer_cancel),
    JS_CFUNC_DEF("run", 1, loop_run),
    JS_CFUNC_DEF("stop", 0, loop_stop),
    JS_CFUNC_DEF("now", 0, loop_now),
};

int loop_install(JSContext *ctx, JSValueConst module)
{
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epoll < 0) {
        throw_errno(ctx, "epoll_create1", -1);
        return -1;
    }
    JS_SetHostPromiseRejectionTracker(JS_GetRuntime(ctx), track_rejection, NULL);
    JS_SetPropertyFunctionList(ctx, module, functions, sizeof functions / sizeof functions[0]);
    return 0;
}
