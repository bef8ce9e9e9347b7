/* The program's bytecode, read by main.c. PROGRAM_FILE is given by the build. */
    .section .rodata
    .balign 16
    .globl tskata_program
    .globl tskata_program_end
tskata_program:
    .incbin PROGRAM_FILE
tskata_program_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
