/* A spawn plan as C data: what plan.c makes of the JavaScript object and spawn.c interprets in the child. */
#ifndef TSKATA_PLAN_H
#define TSKATA_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "native.h"

#define PLAN_SLOTS 64
#define PLAN_MAX_STEPS 4096
#define PLAN_MAX_OPERANDS 6
#define PLAN_MAX_ENTER 16
#define PLAN_MAX_IGNORE 8
#define PLAN_MAX_STRINGS 65536
#define PLAN_MAX_SEARCH 64

enum step_kind { STEP_CALL, STEP_WRITE, STEP_RESOLVE, STEP_SYNC, STEP_SECCOMP, STEP_STDIO, STEP_EXEC, STEP_EXIT };
enum leaf_kind { LEAF_DIRECTORY, LEAF_FILE, LEAF_ANY };

struct operand {
    int is_slot;
    long value;
};

struct bytes {
    uint8_t *start;
    size_t length;
};

struct step {
    enum step_kind kind;
    int result; /* slot, or -1 */
    int ignore[PLAN_MAX_IGNORE];
    int ignore_count;
    union {
        struct {
            long number;
            struct operand operands[PLAN_MAX_OPERANDS];
        } call;
        struct {
            char *path;
            struct bytes bytes;
            int flags;
        } write;
        struct {
            int root;
            char *path;
            enum leaf_kind leaf;
            int create, optional;
            unsigned int mode;
        } resolve;
        struct {
            int fd; /* slot, or -1 */
        } sync;
        struct {
            struct bytes filter;
            unsigned int flags;
        } seccomp;
        struct {
            int count;
            int slots[PLAN_SLOTS];
        } stdio;
        struct {
            char *path;
            char **argv, **env, **search;
        } exec;
        struct {
            int status;
        } exit;
    };
};

struct plan {
    uint64_t clone_flags;
    int cgroup_fd; /* or -1 */
    struct {
        int fd;
        int type;
    } enter[PLAN_MAX_ENTER];
    int enter_count;
    int slots[PLAN_SLOTS]; /* descriptor, or -1 */
    struct step *steps;
    uint32_t step_count;
    struct plan_block *memory;
};

/* 0, or -1 with an exception pending. `plan_free` is called in both cases. */
int plan_read(JSContext *ctx, JSValueConst object, struct plan *plan);
void plan_free(struct plan *plan);

/* Resolves below `root` (resolve.c): a descriptor, or -errno. */
int resolve_in_root(int root, const char *path, enum leaf_kind leaf, int create, unsigned int mode);

#endif
