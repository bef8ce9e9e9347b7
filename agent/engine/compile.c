/*
 * A program of the build: compiles a bundled script to the engine's bytecode. Runs on the host, with the very objects
 * that the agent is linked from, so that both agree on the format.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quickjs.h"

static char *read_whole(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t used = 0, size = 0;

    if (!file)
        return NULL;
    for (;;) {
        size_t count;
        if (used + 1 >= size) {
            size = size ? size * 2 : 65536;
            text = realloc(text, size);
            if (!text)
                exit(2);
        }
        count = fread(text + used, 1, size - used - 1, file);
        if (count == 0)
            break;
        used += count;
    }
    fclose(file);
    text[used] = 0;
    *length = used;
    return text;
}

static void print_error(JSContext *ctx)
{
    JSValue error = JS_GetException(ctx);
    JSValue stack = JS_GetPropertyStr(ctx, error, "stack");
    const char *text = JS_ToCString(ctx, error);
    const char *trace = JS_ToCString(ctx, stack);
    fprintf(stderr, "%s\n%s\n", text ? text : "error", trace ? trace : "");
}

int main(int argc, char **argv)
{
    JSRuntime *runtime;
    JSContext *ctx;
    JSValue program;
    uint8_t *code;
    char *text;
    size_t length, code_length;
    FILE *out;

    if (argc != 4) {
        fprintf(stderr, "usage: compile SCRIPT NAME OUT\n");
        return 2;
    }
    text = read_whole(argv[1], &length);
    if (!text) {
        perror(argv[1]);
        return 1;
    }
    runtime = JS_NewRuntime();
    ctx = runtime ? JS_NewContext(runtime) : NULL;
    if (!ctx)
        return 2;
    JS_SetMaxStackSize(runtime, 6 << 20);
    program = JS_Eval(ctx, text, length, argv[2], JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(program)) {
        print_error(ctx);
        return 1;
    }
    code = JS_WriteObject(ctx, &code_length, program, JS_WRITE_OBJ_BYTECODE);
    out = code ? fopen(argv[3], "wb") : NULL;
    if (!out || fwrite(code, 1, code_length, out) != code_length || fclose(out)) {
        perror(argv[3]);
        return 1;
    }
    return 0;
}
