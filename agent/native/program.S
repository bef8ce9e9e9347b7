/*
 * What C cannot say: the program's bytecode, read by main.c (PROGRAM_FILE is given by the build), and the program's first
 * instructions, which note the CPU time of the process: that of its execve, for even the C library's start, which
 * relocates the program, is after it.
 */
    .text
    .globl tskata_entry
    .type tskata_entry, @function
tskata_entry:
    movl $228, %eax                 /* clock_gettime */
    movl $2, %edi                   /* CLOCK_PROCESS_CPUTIME_ID */
    leaq tskata_entry_cpu(%rip), %rsi
    syscall
    jmp _start

    .bss
    .balign 16
    .globl tskata_entry_cpu
tskata_entry_cpu:
    .skip 16

    .section .rodata
    .balign 16
    .globl tskata_program
    .globl tskata_program_end
tskata_program:
    .incbin PROGRAM_FILE
tskata_program_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
