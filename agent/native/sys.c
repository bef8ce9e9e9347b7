/*
 * Owns the raw way into the kernel: one system call, reads and writes on buffers, addresses, the program's arguments.
 * Every argument is checked for its type; what it means is the caller's business.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "native.h"

#define MAX_CALL_ARGUMENTS 6
#define MAX_PIECES 64

extern char **environ;

int value_bytes(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length)
{
    size_t offset, view_length, size;
    JSValue buffer;
    uint8_t *start;

    if (!JS_IsObject(value)) {
        JS_ThrowTypeError(ctx, "a Uint8Array is needed");
        return -1;
    }
    buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, &view_length, NULL);
    if (JS_IsException(buffer)) {
        JS_FreeValue(ctx, JS_GetException(ctx));
        start = JS_GetArrayBuffer(ctx, &size, value);
        if (!start)
            return -1;
        *bytes = start;
        *length = size;
        return 0;
    }
    start = JS_GetArrayBuffer(ctx, &size, buffer);
    /* The array that was given keeps its buffer alive. */
    JS_FreeValue(ctx, buffer);
    if (!start)
        return -1;
    if (offset > size || view_length > size - offset) {
        JS_ThrowTypeError(ctx, "the array is out of the bounds of its buffer");
        return -1;
    }
    *bytes = start + offset;
    *length = view_length;
    return 0;
}

int value_integer(JSContext *ctx, JSValueConst value, int64_t minimum, int64_t maximum, int64_t *result)
{
    int64_t integer;

    if (JS_VALUE_GET_TAG(value) == JS_TAG_INT) {
        integer = JS_VALUE_GET_INT(value);
    } else if (JS_TAG_IS_FLOAT64(JS_VALUE_GET_TAG(value))) {
        double number = JS_VALUE_GET_FLOAT64(value);
        if (!(fabs(number) <= 9007199254740991.0) || number != floor(number))
            goto wrong;
        integer = (int64_t)number;
    } else if (JS_IsBigInt(ctx, value)) {
        /* Modulo 2^64, so that an unsigned 64-bit operand keeps its bits. */
        if (JS_ToBigInt64(ctx, &integer, value))
            return -1;
    } else {
        goto wrong;
    }
    if (integer < minimum || integer > maximum)
        goto wrong;
    *result = integer;
    return 0;
wrong:
    JS_ThrowTypeError(ctx, "an integer from %lld to %lld is needed", (long long)minimum, (long long)maximum);
    return -1;
}

int property_integer(JSContext *ctx, JSValueConst object, const char *name, int64_t minimum, int64_t maximum,
                     int64_t *result)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    int failed = JS_IsException(value) || value_integer(ctx, value, minimum, maximum, result);
    JS_FreeValue(ctx, value);
    return failed ? -1 : 0;
}

int array_length(JSContext *ctx, JSValueConst array, const char *what, uint32_t maximum, uint32_t *length)
{
    int64_t count;

    if (!JS_IsArray(ctx, array)) {
        JS_ThrowTypeError(ctx, "%s: an array is needed", what);
        return -1;
    }
    if (property_integer(ctx, array, "length", 0, UINT32_MAX, &count))
        return -1;
    if (count > maximum) {
        JS_ThrowTypeError(ctx, "%s: at most %u elements", what, maximum);
        return -1;
    }
    *length = (uint32_t)count;
    return 0;
}

static JSValue result_of(JSContext *ctx, long result)
{
    return JS_NewInt64(ctx, result < 0 ? -errno : result);
}

static JSValue sys_call(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    long operands[MAX_CALL_ARGUMENTS] = {0};
    const char *strings[MAX_CALL_ARGUMENTS];
    int string_count = 0, i;
    int64_t number, integer;
    JSValue result = JS_EXCEPTION;

    (void)this_value;
    if (argc < 1 || argc > MAX_CALL_ARGUMENTS + 1)
        return JS_ThrowTypeError(ctx, "call: a number and up to six arguments");
    if (value_integer(ctx, argv[0], 0, INT32_MAX, &number))
        return JS_EXCEPTION;
    for (i = 0; i < argc - 1; i++) {
        JSValueConst value = argv[i + 1];
        if (JS_IsNull(value)) {
            operands[i] = 0;
        } else if (JS_IsString(value)) {
            size_t length;
            const char *string = JS_ToCStringLen(ctx, &length, value);
            if (!string)
                goto done;
            strings[string_count++] = string;
            if (memchr(string, 0, length)) {
                JS_ThrowTypeError(ctx, "call: a string with a NUL character");
                goto done;
            }
            operands[i] = (long)string;
        } else if (JS_IsObject(value)) {
            uint8_t *bytes;
            size_t length;
            if (value_bytes(ctx, value, &bytes, &length))
                goto done;
            operands[i] = (long)bytes;
        } else {
            if (value_integer(ctx, value, INT64_MIN, INT64_MAX, &integer))
                goto done;
            operands[i] = (long)integer;
        }
    }
    result = result_of(ctx, syscall(number, operands[0], operands[1], operands[2], operands[3], operands[4], operands[5]));
done:
    while (string_count > 0)
        JS_FreeCString(ctx, strings[--string_count]);
    return result;
}

/* fd, buffer, offset, length: checked and turned into a pointer. */
static int transfer_arguments(JSContext *ctx, int argc, JSValueConst *argv, int *fd, uint8_t **start, size_t *length)
{
    uint8_t *bytes;
    size_t size;
    int64_t number, offset, count;

    if (argc < 4) {
        JS_ThrowTypeError(ctx, "descriptor, buffer, offset and length are needed");
        return -1;
    }
    if (value_integer(ctx, argv[0], INT32_MIN, INT32_MAX, &number) || value_bytes(ctx, argv[1], &bytes, &size) ||
        value_integer(ctx, argv[2], 0, (int64_t)size, &offset) ||
        value_integer(ctx, argv[3], 0, (int64_t)size - offset, &count))
        return -1;
    *fd = (int)number;
    *start = bytes + offset;
    *length = (size_t)count;
    return 0;
}

static JSValue sys_read(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int fd;
    uint8_t *start;
    size_t length;

    (void)this_value;
    if (transfer_arguments(ctx, argc, argv, &fd, &start, &length))
        return JS_EXCEPTION;
    return result_of(ctx, read(fd, start, length));
}

static JSValue sys_write(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int fd;
    uint8_t *start;
    size_t length;

    (void)this_value;
    if (transfer_arguments(ctx, argc, argv, &fd, &start, &length))
        return JS_EXCEPTION;
    return result_of(ctx, write(fd, start, length));
}

static JSValue sys_write2(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct iovec parts[2];
    int64_t fd;
    int i;

    (void)this_value;
    if (argc < 3)
        return JS_ThrowTypeError(ctx, "write2: descriptor and two arrays are needed");
    if (value_integer(ctx, argv[0], INT32_MIN, INT32_MAX, &fd))
        return JS_EXCEPTION;
    for (i = 0; i < 2; i++) {
        uint8_t *bytes;
        if (value_bytes(ctx, argv[i + 1], &bytes, &parts[i].iov_len))
            return JS_EXCEPTION;
        parts[i].iov_base = bytes;
    }
    return result_of(ctx, writev((int)fd, parts, 2));
}

/* A buffer as an iovec of pieces. Returns how many, 0 with an exception. */
static int cut(JSContext *ctx, int argc, JSValueConst *argv, int *fd, struct iovec *pieces)
{
    int64_t piece;
    uint8_t *start;
    size_t length;
    int count = 0;

    if (transfer_arguments(ctx, argc, argv, fd, &start, &length))
        return 0;
    if (value_integer(ctx, argc > 4 ? argv[4] : JS_UNDEFINED, 1, INT32_MAX, &piece))
        return 0;
    do {
        size_t part = length < (size_t)piece ? length : (size_t)piece;
        pieces[count++] = (struct iovec){start, part};
        start += part;
        length -= part;
    } while (length > 0 && count < MAX_PIECES);
    return count;
}

static JSValue sys_read_pieces(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct iovec pieces[MAX_PIECES];
    int fd, count = cut(ctx, argc, argv, &fd, pieces);

    (void)this_value;
    return count ? result_of(ctx, readv(fd, pieces, count)) : JS_EXCEPTION;
}

static JSValue sys_write_pieces(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct iovec pieces[MAX_PIECES];
    int fd, count = cut(ctx, argc, argv, &fd, pieces);

    (void)this_value;
    return count ? result_of(ctx, writev(fd, pieces, count)) : JS_EXCEPTION;
}

static JSValue sys_address(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    uint8_t *bytes;
    size_t length;

    (void)this_value;
    if (value_bytes(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, &bytes, &length))
        return JS_EXCEPTION;
    return JS_NewBigInt64(ctx, (int64_t)(intptr_t)bytes);
}

static JSValue sys_exit(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int64_t status;

    (void)this_value;
    if (value_integer(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, 0, 255, &status))
        return JS_EXCEPTION;
    fflush(stderr);
    _exit((int)status);
}

static JSValue sys_print(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, argc > 0 ? argv[0] : JS_UNDEFINED);

    (void)this_value;
    if (!text)
        return JS_EXCEPTION;
    fwrite(text, 1, length, stderr);
    fflush(stderr);
    JS_FreeCString(ctx, text);
    return JS_UNDEFINED;
}

static JSValue engine_set_memory_limit(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    int64_t limit;

    (void)this_value;
    if (value_integer(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, 1, INT64_MAX, &limit))
        return JS_EXCEPTION;
    JS_SetMemoryLimit(JS_GetRuntime(ctx), (size_t)limit);
    return JS_UNDEFINED;
}

static JSValue engine_memory_used(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    JSMemoryUsage usage;

    (void)this_value, (void)argc, (void)argv;
    JS_ComputeMemoryUsage(JS_GetRuntime(ctx), &usage);
    return JS_NewInt64(ctx, usage.malloc_size);
}

static JSValue engine_collect_garbage(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc, (void)argv;
    JS_RunGC(JS_GetRuntime(ctx));
    return JS_UNDEFINED;
}

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_DEF("call", 7, sys_call),
    JS_CFUNC_DEF("read", 4, sys_read),
    JS_CFUNC_DEF("write", 4, sys_write),
    JS_CFUNC_DEF("write2", 3, sys_write2),
    JS_CFUNC_DEF("readPieces", 5, sys_read_pieces),
    JS_CFUNC_DEF("writePieces", 5, sys_write_pieces),
    JS_CFUNC_DEF("address", 1, sys_address),
    JS_CFUNC_DEF("exit", 1, sys_exit),
    JS_CFUNC_DEF("print", 1, sys_print),
    JS_CFUNC_DEF("spawn", 1, sys_spawn),
    JS_CFUNC_DEF("seccompCompile", 1, sys_seccomp_compile),
    JS_CFUNC_DEF("setMemoryLimit", 1, engine_set_memory_limit),
    JS_CFUNC_DEF("memoryUsed", 0, engine_memory_used),
    JS_CFUNC_DEF("collectGarbage", 0, engine_collect_garbage),
};

static int install_strings(JSContext *ctx, JSValueConst module, const char *name, char **strings)
{
    JSValue array = JS_NewArray(ctx);
    uint32_t i;

    for (i = 0; strings[i]; i++) {
        if (JS_SetPropertyUint32(ctx, array, i, JS_NewString(ctx, strings[i])) < 0) {
            JS_FreeValue(ctx, array);
            return -1;
        }
    }
    return JS_SetPropertyStr(ctx, module, name, array) < 0 ? -1 : 0;
}

int sys_install(JSContext *ctx, JSValueConst module, int argc, char **argv)
{
    (void)argc;
    JS_SetPropertyFunctionList(ctx, module, functions, sizeof functions / sizeof functions[0]);
    if (install_strings(ctx, module, "argv", argv) || install_strings(ctx, module, "environ", environ))
        return -1;
    return 0;
}
