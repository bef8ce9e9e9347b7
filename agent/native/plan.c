/*
 * Owns the translation of a spawn plan (agent/sys/plan.ts) into C data, before any clone: everything is copied, so that
 * the child needs neither the engine nor the heap. A wrong field is a TypeError here, never a surprise in the child.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

#define CLONE_NAMESPACES (0x00020000u | 0x02000000u | 0x04000000u | 0x08000000u | 0x10000000u | 0x20000000u | 0x40000000u | 0x80u)
#define BLOCK_BYTES 16384

struct plan_block {
    struct plan_block *next;
    size_t used, size;
    _Alignas(16) uint8_t data[];
};

static void *allocate(JSContext *ctx, struct plan *plan, size_t size)
{
    struct plan_block *block = plan->memory;
    void *result;

    size = (size + 15) & ~(size_t)15;
    if (!block || block->size - block->used < size) {
        size_t capacity = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = malloc(sizeof *block + capacity);
        if (!block) {
            JS_ThrowOutOfMemory(ctx);
            return NULL;
        }
        block->next = plan->memory;
        block->used = 0;
        block->size = capacity;
        plan->memory = block;
    }
    result = block->data + block->used;
    block->used += size;
    return result;
}

void plan_free(struct plan *plan)
{
    while (plan->memory) {
        struct plan_block *next = plan->memory->next;
        free(plan->memory);
        plan->memory = next;
    }
}

static char *copy_string(JSContext *ctx, struct plan *plan, JSValueConst value)
{
    size_t length;
    const char *text;
    char *copy = NULL;

    if (!JS_IsString(value)) {
        JS_ThrowTypeError(ctx, "spawn: a string is needed");
        return NULL;
    }
    text = JS_ToCStringLen(ctx, &length, value);
    if (!text)
        return NULL;
    if (memchr(text, 0, length))
        JS_ThrowTypeError(ctx, "spawn: a string with a NUL character");
    else if ((copy = allocate(ctx, plan, length + 1)))
        memcpy(copy, text, length + 1);
    JS_FreeCString(ctx, text);
    return copy;
}

static char *string_property(JSContext *ctx, struct plan *plan, JSValueConst object, const char *name)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    char *copy = JS_IsException(value) ? NULL : copy_string(ctx, plan, value);
    JS_FreeValue(ctx, value);
    return copy;
}

static int copy_bytes(JSContext *ctx, struct plan *plan, JSValueConst value, struct bytes *result)
{
    uint8_t *start;
    size_t length;

    if (value_bytes(ctx, value, &start, &length) || !(result->start = allocate(ctx, plan, length + 1)))
        return -1;
    memcpy(result->start, start, length);
    result->length = length;
    return 0;
}

static int bytes_property(JSContext *ctx, struct plan *plan, JSValueConst object, const char *name, struct bytes *result)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    int failed = JS_IsException(value) || copy_bytes(ctx, plan, value, result);
    JS_FreeValue(ctx, value);
    return failed ? -1 : 0;
}

/* A NULL-terminated list of strings. */
static char **strings_property(JSContext *ctx, struct plan *plan, JSValueConst object, const char *name, uint32_t maximum)
{
    JSValue list = JS_GetPropertyStr(ctx, object, name);
    uint32_t count, i;
    char **strings = NULL;

    if (!JS_IsException(list) && !array_length(ctx, list, name, maximum, &count))
        strings = allocate(ctx, plan, (count + 1) * sizeof *strings);
    for (i = 0; strings && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, list, i);
        strings[i] = copy_string(ctx, plan, value);
        JS_FreeValue(ctx, value);
        if (!strings[i])
            strings = NULL;
    }
    if (strings)
        strings[count] = NULL;
    JS_FreeValue(ctx, list);
    return strings;
}

/* An integer property that may be missing. */
static int optional_integer(JSContext *ctx, JSValueConst object, const char *name, int64_t minimum, int64_t maximum,
                            int64_t missing, int64_t *result)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    int failed = 0;

    if (JS_IsException(value))
        return -1;
    if (JS_IsUndefined(value))
        *result = missing;
    else
        failed = value_integer(ctx, value, minimum, maximum, result);
    JS_FreeValue(ctx, value);
    return failed ? -1 : 0;
}

static int int_property(JSContext *ctx, JSValueConst object, const char *name, int64_t minimum, int64_t maximum, int *result)
{
    int64_t integer;
    if (property_integer(ctx, object, name, minimum, maximum, &integer))
        return -1;
    *result = (int)integer;
    return 0;
}

static int bool_property(JSContext *ctx, JSValueConst object, const char *name, int *result)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    *result = JS_IsException(value) ? -1 : JS_ToBool(ctx, value);
    JS_FreeValue(ctx, value);
    return *result < 0 ? -1 : 0;
}

/* The slot number of a SlotRef property; -1 when it is missing and may be. */
static int slot_property(JSContext *ctx, JSValueConst object, const char *name, int optional, int *slot)
{
    JSValue value = JS_GetPropertyStr(ctx, object, name);
    int failed;

    if (optional && JS_IsUndefined(value)) {
        *slot = -1;
        return 0;
    }
    if (JS_IsException(value))
        return -1;
    if (!JS_IsObject(value)) {
        JS_ThrowTypeError(ctx, "spawn: %s must be a slot", name);
        failed = 1;
    } else {
        failed = int_property(ctx, value, "slot", 0, PLAN_SLOTS - 1, slot);
    }
    JS_FreeValue(ctx, value);
    return failed ? -1 : 0;
}

static int read_operand(JSContext *ctx, struct plan *plan, JSValueConst value, struct operand *operand)
{
    struct bytes bytes;
    int64_t integer;
    JSValue slot;

    operand->is_slot = 0;
    operand->value = 0;
    if (JS_IsNull(value))
        return 0;
    if (JS_IsString(value))
        return (operand->value = (long)copy_string(ctx, plan, value)) ? 0 : -1;
    if (JS_IsObject(value)) {
        slot = JS_GetPropertyStr(ctx, value, "slot");
        if (JS_IsException(slot))
            return -1;
        if (JS_IsUndefined(slot)) {
            if (copy_bytes(ctx, plan, value, &bytes))
                return -1;
            operand->value = (long)bytes.start;
            return 0;
        }
        operand->is_slot = 1;
        if (value_integer(ctx, slot, 0, PLAN_SLOTS - 1, &integer)) {
            JS_FreeValue(ctx, slot);
            return -1;
        }
        operand->value = (long)integer;
        return 0;
    }
    if (value_integer(ctx, value, INT64_MIN, INT64_MAX, &integer))
        return -1;
    operand->value = (long)integer;
    return 0;
}

static int read_ignore(JSContext *ctx, JSValueConst object, struct step *step)
{
    JSValue list = JS_GetPropertyStr(ctx, object, "ignore");
    uint32_t count = 0, i;
    int failed = 0;

    if (JS_IsUndefined(list))
        return 0;
    failed = JS_IsException(list) || array_length(ctx, list, "ignore", PLAN_MAX_IGNORE, &count);
    for (i = 0; !failed && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, list, i);
        int64_t number;
        failed = value_integer(ctx, value, 1, 4095, &number);
        JS_FreeValue(ctx, value);
        if (!failed)
            step->ignore[step->ignore_count++] = (int)number;
    }
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

static int read_call(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    JSValue list;
    uint32_t count = 0, i;
    int64_t number, result;
    int failed;

    if (property_integer(ctx, object, "nr", 0, INT_MAX, &number) ||
        optional_integer(ctx, object, "result", 0, PLAN_SLOTS - 1, -1, &result) || read_ignore(ctx, object, step))
        return -1;
    step->call.number = (long)number;
    step->result = (int)result;
    list = JS_GetPropertyStr(ctx, object, "args");
    failed = JS_IsException(list) || array_length(ctx, list, "args", PLAN_MAX_OPERANDS, &count);
    for (i = 0; !failed && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, list, i);
        failed = JS_IsException(value) || read_operand(ctx, plan, value, &step->call.operands[i]);
        JS_FreeValue(ctx, value);
    }
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

static int read_write(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    int64_t flags;

    if (!(step->write.path = string_property(ctx, plan, object, "path")) ||
        bytes_property(ctx, plan, object, "bytes", &step->write.bytes) ||
        optional_integer(ctx, object, "flags", 0, INT_MAX, 0, &flags) || read_ignore(ctx, object, step))
        return -1;
    step->write.flags = (int)flags;
    return 0;
}

static int read_resolve(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    char *leaf = string_property(ctx, plan, object, "leaf");
    int mode;

    if (!leaf)
        return -1;
    if (!strcmp(leaf, "directory"))
        step->resolve.leaf = LEAF_DIRECTORY;
    else if (!strcmp(leaf, "file"))
        step->resolve.leaf = LEAF_FILE;
    else
        step->resolve.leaf = LEAF_ANY;
    if (slot_property(ctx, object, "root", 0, &step->resolve.root) ||
        !(step->resolve.path = string_property(ctx, plan, object, "path")) ||
        bool_property(ctx, object, "create", &step->resolve.create) ||
        bool_property(ctx, object, "optional", &step->resolve.optional) ||
        int_property(ctx, object, "mode", 0, 07777, &mode) ||
        int_property(ctx, object, "result", 0, PLAN_SLOTS - 1, &step->result))
        return -1;
    step->resolve.mode = (unsigned int)mode;
    return 0;
}

static int read_stdio(JSContext *ctx, JSValueConst object, struct step *step)
{
    JSValue list = JS_GetPropertyStr(ctx, object, "fds");
    uint32_t count = 0, i;
    int failed = JS_IsException(list) || array_length(ctx, list, "fds", PLAN_SLOTS, &count);

    for (i = 0; !failed && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, list, i);
        failed = JS_IsException(value) || int_property(ctx, value, "slot", 0, PLAN_SLOTS - 1, &step->stdio.slots[i]);
        JS_FreeValue(ctx, value);
    }
    step->stdio.count = (int)count;
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

static int read_exec(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    return (step->exec.path = string_property(ctx, plan, object, "path")) &&
                   (step->exec.argv = strings_property(ctx, plan, object, "argv", PLAN_MAX_STRINGS)) &&
                   (step->exec.env = strings_property(ctx, plan, object, "env", PLAN_MAX_STRINGS)) &&
                   (step->exec.search = strings_property(ctx, plan, object, "searchPath", PLAN_MAX_SEARCH))
               ? 0
               : -1;
}

static int read_seccomp(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    int64_t flags;

    if (bytes_property(ctx, plan, object, "filter", &step->seccomp.filter) ||
        property_integer(ctx, object, "flags", 0, UINT_MAX, &flags))
        return -1;
    step->seccomp.flags = (unsigned int)flags;
    if (step->seccomp.filter.length == 0 || step->seccomp.filter.length % 8 || step->seccomp.filter.length > 4096 * 8) {
        JS_ThrowTypeError(ctx, "spawn: a seccomp filter is 1 to 4096 instructions of 8 bytes");
        return -1;
    }
    return 0;
}

static int read_step(JSContext *ctx, struct plan *plan, JSValueConst object, struct step *step)
{
    char *op;

    memset(step, 0, sizeof *step);
    step->result = -1;
    if (!JS_IsObject(object)) {
        JS_ThrowTypeError(ctx, "spawn: a step must be an object");
        return -1;
    }
    op = string_property(ctx, plan, object, "op");
    if (!op)
        return -1;
    if (!strcmp(op, "call"))
        return step->kind = STEP_CALL, read_call(ctx, plan, object, step);
    if (!strcmp(op, "write"))
        return step->kind = STEP_WRITE, read_write(ctx, plan, object, step);
    if (!strcmp(op, "resolve"))
        return step->kind = STEP_RESOLVE, read_resolve(ctx, plan, object, step);
    if (!strcmp(op, "sync"))
        return step->kind = STEP_SYNC, slot_property(ctx, object, "fd", 1, &step->sync.fd);
    if (!strcmp(op, "seccomp"))
        return step->kind = STEP_SECCOMP, read_seccomp(ctx, plan, object, step);
    if (!strcmp(op, "stdio"))
        return step->kind = STEP_STDIO, read_stdio(ctx, object, step);
    if (!strcmp(op, "exec"))
        return step->kind = STEP_EXEC, read_exec(ctx, plan, object, step);
    if (!strcmp(op, "exit"))
        return step->kind = STEP_EXIT, int_property(ctx, object, "status", 0, 255, &step->exit.status);
    JS_ThrowTypeError(ctx, "spawn: unknown step %s", op);
    return -1;
}

static int read_steps(JSContext *ctx, JSValueConst object, struct plan *plan)
{
    JSValue list = JS_GetPropertyStr(ctx, object, "steps");
    uint32_t i;
    int failed = JS_IsException(list) || array_length(ctx, list, "steps", PLAN_MAX_STEPS, &plan->step_count);

    if (!failed)
        failed = !(plan->steps = allocate(ctx, plan, (plan->step_count + 1) * sizeof *plan->steps));
    for (i = 0; !failed && i < plan->step_count; i++) {
        JSValue step = JS_GetPropertyUint32(ctx, list, i);
        failed = JS_IsException(step) || read_step(ctx, plan, step, &plan->steps[i]);
        JS_FreeValue(ctx, step);
    }
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

static int read_enter(JSContext *ctx, JSValueConst object, struct plan *plan)
{
    JSValue list = JS_GetPropertyStr(ctx, object, "enter");
    uint32_t count = 0, i;
    int failed;

    if (JS_IsUndefined(list))
        return 0;
    failed = JS_IsException(list) || array_length(ctx, list, "enter", PLAN_MAX_ENTER, &count);
    for (i = 0; !failed && i < count; i++) {
        JSValue entry = JS_GetPropertyUint32(ctx, list, i);
        failed = JS_IsException(entry) || int_property(ctx, entry, "fd", 0, INT_MAX, &plan->enter[i].fd) ||
                 int_property(ctx, entry, "type", 0, INT_MAX, &plan->enter[i].type);
        JS_FreeValue(ctx, entry);
    }
    plan->enter_count = (int)count;
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

static int read_slots(JSContext *ctx, JSValueConst object, struct plan *plan)
{
    JSValue slots = JS_GetPropertyStr(ctx, object, "slots");
    int failed = !JS_IsObject(slots), i;

    if (failed && !JS_IsException(slots))
        JS_ThrowTypeError(ctx, "spawn: slots must be an object");
    for (i = 0; !failed && i < PLAN_SLOTS; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, slots, (uint32_t)i);
        int64_t fd = -1;
        failed = JS_IsException(value) || (!JS_IsUndefined(value) && value_integer(ctx, value, -1, INT_MAX, &fd));
        JS_FreeValue(ctx, value);
        plan->slots[i] = (int)fd;
    }
    JS_FreeValue(ctx, slots);
    return failed ? -1 : 0;
}

int plan_read(JSContext *ctx, JSValueConst object, struct plan *plan)
{
    int64_t flags, cgroup;

    memset(plan, 0, sizeof *plan);
    if (!JS_IsObject(object)) {
        JS_ThrowTypeError(ctx, "spawn: a plan is needed");
        return -1;
    }
    if (property_integer(ctx, object, "cloneFlags", 0, UINT_MAX, &flags) ||
        optional_integer(ctx, object, "cgroupFd", 0, INT_MAX, -1, &cgroup))
        return -1;
    if (flags & ~(int64_t)CLONE_NAMESPACES) {
        JS_ThrowTypeError(ctx, "spawn: cloneFlags other than CLONE_NEW*");
        return -1;
    }
    plan->clone_flags = (uint64_t)flags;
    plan->cgroup_fd = (int)cgroup;
    if (read_enter(ctx, object, plan) || read_slots(ctx, object, plan) || read_steps(ctx, object, plan))
        return -1;
    return 0;
}
