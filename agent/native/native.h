/*
 * Shared by the files of the native layer: how JavaScript values become bytes and numbers, and what each file installs.
 * Nothing here decides anything about containers: policy is TypeScript.
 */
#ifndef TSKATA_NATIVE_H
#define TSKATA_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#include "quickjs.h"

/* Each adds its functions to the native module object or to the globals. 0, or -1 with an exception pending. */
int sys_install(JSContext *ctx, JSValueConst module, int argc, char **argv);
int text_install(JSContext *ctx, JSValueConst global, JSValueConst module);
int loop_install(JSContext *ctx, JSValueConst module);

/* Bytes of a Uint8Array or an ArrayBuffer, valid until JavaScript runs again. -1 with a TypeError pending. */
int value_bytes(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length);
/* A whole number in [minimum, maximum] (number or bigint). -1 with a TypeError pending. */
int value_integer(JSContext *ctx, JSValueConst value, int64_t minimum, int64_t maximum, int64_t *result);
/* A property of that kind. -1 with an exception pending. */
int property_integer(JSContext *ctx, JSValueConst object, const char *name, int64_t minimum, int64_t maximum,
                     int64_t *result);
/* Length of an array property-wise, at most `maximum`. -1 with an exception pending. */
int array_length(JSContext *ctx, JSValueConst array, const char *what, uint32_t maximum, uint32_t *length);
/* A new Uint8Array with a copy of the bytes, or an exception. */
JSValue new_bytes(JSContext *ctx, const uint8_t *bytes, size_t length);

JSValue sys_spawn(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv);
JSValue sys_seccomp_compile(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv);

/* Runs promise jobs until none is left; errors and unhandled rejections go to the loop's reporter or to stderr. */
void loop_drain_jobs(JSContext *ctx);
/* Whether something went wrong outside of `run`, where nobody could be told. */
int loop_failed(void);
/* Writes the pending exception and its stack to stderr and clears it. */
void print_exception(JSContext *ctx);

#endif
