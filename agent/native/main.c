/*
 * Owns the life of the program: makes the engine, installs the native module, runs the embedded bytecode, prints what
 * nobody caught. It has no eval: the engine's parser is not even linked.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

/* Enough for any honest use; the program sets its own bound. */
#define DEFAULT_MEMORY_LIMIT ((size_t)256 << 20)
#define STACK_LIMIT ((size_t)1 << 20)
/* Statuses of sysexits.h: EX_SOFTWARE, EX_OSERR. */
#define STATUS_UNCAUGHT 70
#define STATUS_NO_ENGINE 71
/* Called by this name the program is the host's stand-in for a container. */
#define STAND_IN_NAME "tskata-stand-in"

/* CPU time of the process at its first instruction, noted by program.S. */
extern const struct timespec tskata_entry_cpu;

/* The program's bytecode, put into the binary by program.S. */
extern const uint8_t tskata_program[];
extern const uint8_t tskata_program_end[];

static void print_value(JSContext *ctx, JSValueConst value)
{
    const char *text = JS_ToCString(ctx, value);
    if (text) {
        fputs(text, stderr);
        JS_FreeCString(ctx, text);
    } else {
        JS_FreeValue(ctx, JS_GetException(ctx));
        fputs("(an error that cannot be shown)", stderr);
    }
}

void print_exception(JSContext *ctx)
{
    JSValue error = JS_GetException(ctx);

    fputs("uncaught ", stderr);
    print_value(ctx, error);
    fputc('\n', stderr);
    if (JS_IsError(ctx, error)) {
        JSValue stack = JS_GetPropertyStr(ctx, error, "stack");
        if (JS_IsString(stack))
            print_value(ctx, stack);
        JS_FreeValue(ctx, stack);
    }
    fflush(stderr);
    JS_FreeValue(ctx, error);
}

static JSContext *new_context(JSRuntime *runtime)
{
    JSContext *ctx = JS_NewContextRaw(runtime);
    if (!ctx)
        return NULL;
    JS_AddIntrinsicBaseObjects(ctx);
    JS_AddIntrinsicDate(ctx);
    JS_AddIntrinsicStringNormalize(ctx);
    JS_AddIntrinsicRegExp(ctx);
    JS_AddIntrinsicJSON(ctx);
    JS_AddIntrinsicProxy(ctx);
    JS_AddIntrinsicMapSet(ctx);
    JS_AddIntrinsicTypedArrays(ctx);
    JS_AddIntrinsicPromise(ctx);
    JS_AddIntrinsicBigInt(ctx);
    return ctx;
}

static int64_t to_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static int install(JSContext *ctx, int argc, char **argv, const struct timespec *started)
{
    JSValue global = JS_GetGlobalObject(ctx);
    JSValue module = JS_NewObject(ctx);
    int result = -1;

    if (!JS_IsException(module) &&
        JS_SetPropertyStr(ctx, module, "startedNs", JS_NewBigInt64(ctx, to_ns(started))) >= 0 &&
        JS_SetPropertyStr(ctx, module, "startedCpuNs", JS_NewBigInt64(ctx, to_ns(&tskata_entry_cpu))) >= 0 &&
        !text_install(ctx, global, module) && !sys_install(ctx, module, argc, argv) &&
        !loop_install(ctx, module))
        result = JS_DefinePropertyValueStr(ctx, global, "tskataNative", JS_DupValue(ctx, module), 0) < 0 ? -1 : 0;
    JS_FreeValue(ctx, module);
    JS_FreeValue(ctx, global);
    return result;
}

/* A process that only has to exist: no engine, no memory of its own, no signal but SIGKILL. */
static _Noreturn void stand_in(void)
{
    sigset_t all;

    prctl(PR_SET_NAME, STAND_IN_NAME);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    struct timespec started = {0};
    JSRuntime *runtime;
    JSContext *ctx;
    JSValue program, result;
    int failed;

    if (argc > 0 && !strcmp(argv[0], STAND_IN_NAME))
        stand_in();
    /* Before the engine is made: what it costs counts as the program's start. */
    clock_gettime(CLOCK_BOOTTIME, &started);
    /* A write to a closed pipe is an error number, not an end. */
    signal(SIGPIPE, SIG_IGN);
    runtime = JS_NewRuntime();
    ctx = runtime ? new_context(runtime) : NULL;
    if (!ctx) {
        fputs("cannot start the engine: no memory\n", stderr);
        return STATUS_NO_ENGINE;
    }
    JS_SetMemoryLimit(runtime, DEFAULT_MEMORY_LIMIT);
    JS_SetMaxStackSize(runtime, STACK_LIMIT);
    if (install(ctx, argc, argv, &started)) {
        print_exception(ctx);
        return STATUS_NO_ENGINE;
    }
    program = JS_ReadObject(ctx, tskata_program, (size_t)(tskata_program_end - tskata_program), JS_READ_OBJ_BYTECODE);
    if (JS_IsException(program)) {
        print_exception(ctx);
        return STATUS_NO_ENGINE;
    }
    result = JS_EvalFunction(ctx, program);
    failed = JS_IsException(result);
    if (failed)
        print_exception(ctx);
    JS_FreeValue(ctx, result);
    loop_drain_jobs(ctx);
    /* The kernel takes the memory back faster than the engine can free it. */
    fflush(stderr);
    _exit(failed || loop_failed() ? STATUS_UNCAUGHT : 0);
}
