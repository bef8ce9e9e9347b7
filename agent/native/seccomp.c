/*
 * Owns the compilation of a filter by libseccomp into the kernel's instructions. Names that this libseccomp does not
 * know are skipped: such a call does not exist for the guest's kernel either.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "native.h"

#define MAX_RULES 4096
#define MAX_NAMES 4096
#define MAX_ARGUMENTS 6
#define MAX_ARCHITECTURES 32
#define X32_BIT 0x40000000
/* BPF_MAXINSNS instructions of 8 bytes: fits into a pipe. */
#define MAX_FILTER_BYTES (4096 * 8)

struct compilation {
    scmp_filter_ctx filter;
    int64_t default_action;
    /* For calls above every named one; -1: the default action is for them too. */
    int64_t unknown_action;
    int highest;
    uint32_t architectures[MAX_ARCHITECTURES + 1];
    uint32_t architecture_count;
};

struct rule_arguments {
    struct scmp_arg_cmp compare[MAX_ARGUMENTS];
    uint32_t count;
    /* An index that occurs twice: the comparisons are alternatives, each a rule of its own. */
    int alternatives;
};

static int read_compare(JSContext *ctx, JSValueConst object, struct scmp_arg_cmp *compare)
{
    int64_t index, operation, value, second;

    if (property_integer(ctx, object, "index", 0, MAX_ARGUMENTS - 1, &index) ||
        property_integer(ctx, object, "op", SCMP_CMP_NE, SCMP_CMP_MASKED_EQ, &operation) ||
        property_integer(ctx, object, "value", INT64_MIN, INT64_MAX, &value) ||
        property_integer(ctx, object, "valueTwo", INT64_MIN, INT64_MAX, &second))
        return -1;
    compare->arg = (unsigned int)index;
    compare->op = (enum scmp_compare)operation;
    compare->datum_a = (scmp_datum_t)value;
    compare->datum_b = (scmp_datum_t)second;
    return 0;
}

static int read_arguments(JSContext *ctx, JSValueConst rule, struct rule_arguments *arguments)
{
    JSValue list = JS_GetPropertyStr(ctx, rule, "args");
    uint32_t i, j;
    int failed;

    memset(arguments, 0, sizeof *arguments);
    failed = JS_IsException(list) || array_length(ctx, list, "args", MAX_ARGUMENTS, &arguments->count);
    for (i = 0; !failed && i < arguments->count; i++) {
        JSValue object = JS_GetPropertyUint32(ctx, list, i);
        failed = JS_IsException(object) || read_compare(ctx, object, &arguments->compare[i]);
        JS_FreeValue(ctx, object);
        for (j = 0; !failed && j < i; j++)
            arguments->alternatives |= arguments->compare[j].arg == arguments->compare[i].arg;
    }
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

/* The highest number of a named call, on any of the architectures: what is above is unknown to the filter. */
static void note_number(struct compilation *compilation, const char *name)
{
    uint32_t i;

    for (i = 0; i < compilation->architecture_count; i++) {
        int number = seccomp_syscall_resolve_name_arch(compilation->architectures[i], name);
        /* The numbers of x32 have a flag bit. */
        if (number >= 0 && number < X32_BIT && number > compilation->highest)
            compilation->highest = number;
    }
}

static int add_rule(struct compilation *compilation, uint32_t action, const char *name,
                    const struct rule_arguments *arguments)
{
    scmp_filter_ctx filter = compilation->filter;
    int number = seccomp_syscall_resolve_name(name), result = 0;
    uint32_t i;

    if (number == __NR_SCMP_ERROR)
        return 0;
    note_number(compilation, name);
    if (!arguments->alternatives)
        return seccomp_rule_add_array(filter, action, number, arguments->count, arguments->compare);
    for (i = 0; i < arguments->count && !result; i++)
        result = seccomp_rule_add_array(filter, action, number, 1, &arguments->compare[i]);
    return result;
}

/* -1 with an exception pending, or 0 with `*error` set to 0 or -errno. */
static int add_rules_of(JSContext *ctx, struct compilation *compilation, JSValueConst rule, int *error)
{
    struct rule_arguments arguments;
    int64_t action;
    uint32_t count, i;
    JSValue names;
    int failed;

    if (property_integer(ctx, rule, "action", 0, UINT32_MAX, &action) || read_arguments(ctx, rule, &arguments))
        return -1;
    /* libseccomp refuses a rule that says what the default says. */
    if (action == compilation->default_action)
        return 0;
    names = JS_GetPropertyStr(ctx, rule, "names");
    failed = JS_IsException(names) || array_length(ctx, names, "names", MAX_NAMES, &count);
    for (i = 0; !failed && !*error && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, names, i);
        const char *name = JS_ToCString(ctx, value);
        failed = !name;
        if (name)
            *error = add_rule(compilation, (uint32_t)action, name, &arguments);
        JS_FreeCString(ctx, name);
        JS_FreeValue(ctx, value);
    }
    JS_FreeValue(ctx, names);
    return failed ? -1 : 0;
}

static int add_rules(JSContext *ctx, struct compilation *compilation, JSValueConst source, int *error)
{
    JSValue rules = JS_GetPropertyStr(ctx, source, "rules");
    uint32_t count = 0, i;
    int failed = JS_IsException(rules) || array_length(ctx, rules, "rules", MAX_RULES, &count);

    for (i = 0; !failed && !*error && i < count; i++) {
        JSValue rule = JS_GetPropertyUint32(ctx, rules, i);
        failed = JS_IsException(rule) || add_rules_of(ctx, compilation, rule, error);
        JS_FreeValue(ctx, rule);
    }
    JS_FreeValue(ctx, rules);
    return failed ? -1 : 0;
}

/* "SCMP_ARCH_X86_64" and "x86_64" are the same. */
static int add_architecture(struct compilation *compilation, const char *name)
{
    char lower[32];
    size_t i;
    uint32_t token;
    int result;

    if (!strncmp(name, "SCMP_ARCH_", 10))
        name += 10;
    for (i = 0; name[i] && i < sizeof lower - 1; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    lower[i] = 0;
    token = seccomp_arch_resolve_name(lower);
    if (token == 0)
        return -EINVAL;
    compilation->architectures[compilation->architecture_count++] = token;
    result = seccomp_arch_add(compilation->filter, token);
    return result == -EEXIST ? 0 : result;
}

static int add_architectures(JSContext *ctx, struct compilation *compilation, JSValueConst source, int *error)
{
    JSValue list = JS_GetPropertyStr(ctx, source, "architectures");
    uint32_t count = 0, i;
    int failed = JS_IsException(list) || array_length(ctx, list, "architectures", MAX_ARCHITECTURES, &count);

    for (i = 0; !failed && !*error && i < count; i++) {
        JSValue value = JS_GetPropertyUint32(ctx, list, i);
        const char *name = JS_ToCString(ctx, value);
        failed = !name;
        if (name)
            *error = add_architecture(compilation, name);
        JS_FreeCString(ctx, name);
        JS_FreeValue(ctx, value);
    }
    JS_FreeValue(ctx, list);
    return failed ? -1 : 0;
}

/* Instructions ahead of the filter that answer calls with a number above `highest`; their size in bytes. */
static size_t write_prefix(const struct compilation *compilation, uint8_t *bytes)
{
    struct sock_filter prefix[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)compilation->highest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, (uint32_t)compilation->unknown_action),
    };

    if (compilation->unknown_action < 0 || compilation->highest < 0)
        return 0;
    memcpy(bytes, prefix, sizeof prefix);
    return sizeof prefix;
}

static JSValue export_filter(JSContext *ctx, const struct compilation *compilation)
{
    uint8_t bytes[MAX_FILTER_BYTES];
    size_t length = write_prefix(compilation, bytes);
    ssize_t count;
    int ends[2], error;

    /* A pipe, not a memfd: an instruction list always fits, and nothing is needed of the file systems. */
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return JS_NewInt32(ctx, -errno);
    error = seccomp_export_bpf(compilation->filter, ends[1]);
    close(ends[1]);
    while (!error && length < sizeof bytes && (count = read(ends[0], bytes + length, sizeof bytes - length)) > 0)
        length += (size_t)count;
    close(ends[0]);
    if (!error && (length == 0 || length % 8))
        error = -EFBIG;
    return error ? JS_NewInt32(ctx, error) : new_bytes(ctx, bytes, length);
}

static int read_actions(JSContext *ctx, JSValueConst source, struct compilation *compilation)
{
    JSValue unknown;
    int failed;

    if (property_integer(ctx, source, "defaultAction", 0, UINT32_MAX, &compilation->default_action))
        return -1;
    unknown = JS_GetPropertyStr(ctx, source, "unknownAction");
    if (JS_IsUndefined(unknown))
        return 0;
    failed = JS_IsException(unknown) || value_integer(ctx, unknown, 0, UINT32_MAX, &compilation->unknown_action);
    JS_FreeValue(ctx, unknown);
    return failed ? -1 : 0;
}

JSValue sys_seccomp_compile(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct compilation compilation = {.unknown_action = -1, .highest = -1};
    int error = 0, failed;
    JSValue result;

    (void)this_value;
    if (argc < 1 || !JS_IsObject(argv[0]))
        return JS_ThrowTypeError(ctx, "seccompCompile: a filter is needed");
    if (read_actions(ctx, argv[0], &compilation))
        return JS_EXCEPTION;
    compilation.filter = seccomp_init((uint32_t)compilation.default_action);
    if (!compilation.filter)
        return JS_NewInt32(ctx, -EINVAL);
    compilation.architectures[compilation.architecture_count++] = seccomp_arch_native();
    /* A binary tree: the cost of a call does not grow with the length of the list. */
    seccomp_attr_set(compilation.filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    failed = add_architectures(ctx, &compilation, argv[0], &error) ||
             (!error && add_rules(ctx, &compilation, argv[0], &error));
    if (failed)
        result = JS_EXCEPTION;
    else
        result = error ? JS_NewInt32(ctx, error) : export_filter(ctx, &compilation);
    seccomp_release(compilation.filter);
    return result;
}
