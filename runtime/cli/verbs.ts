/** Every verb, in the order of the help. One more verb: write its file, add its line. */
import type { Command } from 'commander';
import type { ContextSource } from './context.ts';
import { register as doctor } from './doctor.ts';
import { register as exec } from './exec.ts';
import { register as gc } from './gc.ts';
import { register as images } from './images.ts';
import { register as kill } from './kill.ts';
import { register as list } from './list.ts';
import { register as load } from './load.ts';
import { register as logs } from './logs.ts';
import { register as pull } from './pull.ts';
import { register as rm } from './rm.ts';
import { register as rmi } from './rmi.ts';
import { register as run } from './run.ts';
import { register as stop } from './stop.ts';

/** Adds a verb to the program. */
export type Register = (program: Command, context: ContextSource) => void;

export const VERBS: readonly Register[] = [run, exec, logs, list, kill, stop, rm, pull, images, rmi, load, doctor, gc];
