/**
 * Owns the flags and constants of Linux on x86-64 that the agent and the native host programs use, one object per
 * family with the kernel's prefix as its name. Knows no policy: which flag belongs where is the caller's business.
 */

/** Flags of open and openat2. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 64,
  EXCL: 128,
  NOCTTY: 0x100,
  TRUNC: 0x200,
  APPEND: 0x400,
  NONBLOCK: 0x800,
  DIRECTORY: 0x10000,
  NOFOLLOW: 0x20000,
  CLOEXEC: 0x80000,
  PATH: 0x200000,
  TMPFILE: 0x410000,
} as const;

/** Flags of the *at calls; FDCWD stands for the current directory. */
export const AT = {
  FDCWD: -100,
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  SYMLINK_FOLLOW: 0x400,
  NO_AUTOMOUNT: 0x800,
  EMPTY_PATH: 0x1000,
  RECURSIVE: 0x8000,
  EACCESS: 0x200,
} as const;

/** File types and modes of stat. */
export const S = {
  IFMT: 0xf000,
  IFSOCK: 0xc000,
  IFLNK: 0xa000,
  IFREG: 0x8000,
  IFBLK: 0x6000,
  IFDIR: 0x4000,
  IFCHR: 0x2000,
  IFIFO: 0x1000,
  ISUID: 0x800,
  ISGID: 0x400,
  ISVTX: 0x200,
} as const;

/** Entry types of getdents64. */
export const DT = {
  UNKNOWN: 0,
  FIFO: 1,
  CHR: 2,
  DIR: 4,
  BLK: 6,
  REG: 8,
  LNK: 10,
  SOCK: 12,
} as const;

/** `resolve` of openat2. */
export const RESOLVE = {
  NO_XDEV: 1,
  NO_MAGICLINKS: 2,
  NO_SYMLINKS: 4,
  BENEATH: 8,
  IN_ROOT: 16,
} as const;

/** Namespace flags of clone, unshare and setns. */
export const CLONE = {
  NEWNS: 0x20000,
  NEWCGROUP: 0x2000000,
  NEWUTS: 0x4000000,
  NEWIPC: 0x8000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
} as const;

/** Flags of mount. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOATIME: 0x400,
  NODIRATIME: 0x800,
  BIND: 0x1000,
  MOVE: 0x2000,
  REC: 0x4000,
  SILENT: 0x8000,
  POSIXACL: 0x10000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
  RELATIME: 0x200000,
  I_VERSION: 0x800000,
  STRICTATIME: 0x1000000,
  LAZYTIME: 0x2000000,
} as const;

/** Flags of umount2. */
export const MNT = {
  FORCE: 1,
  DETACH: 2,
  EXPIRE: 4,
} as const;

/** Attributes of fsmount and mount_setattr. */
export const MOUNT_ATTR = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  _ATIME: 112,
  RELATIME: 0,
  NOATIME: 16,
  STRICTATIME: 32,
  NODIRATIME: 128,
  IDMAP: 0x100000,
  NOSYMFOLLOW: 0x200000,
} as const;

/** Flags of open_tree. */
export const OPEN_TREE = {
  CLONE: 1,
  CLOEXEC: 0x80000,
} as const;

/** Flags of move_mount. */
export const MOVE_MOUNT = {
  F_SYMLINKS: 1,
  F_AUTOMOUNTS: 2,
  F_EMPTY_PATH: 4,
  T_SYMLINKS: 16,
  T_AUTOMOUNTS: 32,
  T_EMPTY_PATH: 64,
  SET_GROUP: 0x100,
} as const;

/** Flags of fsopen. */
export const FSOPEN = {
  CLOEXEC: 1,
} as const;

/** Flags of fsmount. */
export const FSMOUNT = {
  CLOEXEC: 1,
} as const;

/** Commands of fsconfig. */
export const FSCONFIG = {
  SET_FLAG: 0,
  SET_STRING: 1,
  SET_BINARY: 2,
  SET_PATH: 3,
  SET_PATH_EMPTY: 4,
  SET_FD: 5,
  CMD_CREATE: 6,
  CMD_RECONFIGURE: 7,
} as const;

/** Address families. */
export const AF = {
  UNSPEC: 0,
  UNIX: 1,
  INET: 2,
  INET6: 10,
  NETLINK: 16,
  PACKET: 17,
  VSOCK: 40,
} as const;

/** Socket types and their flags. */
export const SOCK = {
  STREAM: 1,
  DGRAM: 2,
  RAW: 3,
  SEQPACKET: 5,
  NONBLOCK: 0x800,
  CLOEXEC: 0x80000,
} as const;

/** Levels of socket options. */
export const SOL = {
  SOCKET: 1,
  NETLINK: 0x10e,
} as const;

/** Options of the level SOL.SOCKET. */
export const SO = {
  REUSEADDR: 2,
  ERROR: 4,
  SNDBUF: 7,
  RCVBUF: 8,
  PASSCRED: 16,
  PEERCRED: 17,
  SNDBUFFORCE: 32,
  RCVBUFFORCE: 33,
  ATTACH_FILTER: 26,
  BINDTODEVICE: 25,
} as const;

/** Types of control messages. */
export const SCM = {
  RIGHTS: 1,
  CREDENTIALS: 2,
} as const;

/** Flags of sendmsg and recvmsg. */
export const MSG = {
  PEEK: 2,
  TRUNC: 32,
  CTRUNC: 8,
  DONTWAIT: 64,
  NOSIGNAL: 0x4000,
  CMSG_CLOEXEC: 0x40000000,
} as const;

/** Directions of shutdown. */
export const SHUT = {
  RD: 0,
  WR: 1,
  RDWR: 2,
} as const;

/** Commands of fcntl. */
export const F = {
  DUPFD: 0,
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  DUPFD_CLOEXEC: 0x406,
  SETPIPE_SZ: 0x407,
  GETPIPE_SZ: 0x408,
  ADD_SEALS: 0x409,
  OFD_SETLK: 37,
} as const;

/** Operations of flock. */
export const LOCK = {
  SH: 1,
  EX: 2,
  NB: 4,
  UN: 8,
} as const;

/** Events of the loop. */
export const EPOLL = {
  IN: 1,
  OUT: 4,
  ERR: 8,
  HUP: 16,
  RDHUP: 0x2000,
  PRI: 2,
} as const;

/** Signals. */
export const SIG = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  PWR: 30,
  SYS: 31,
} as const;

/** How rt_sigprocmask changes the mask. */
export const SIG_HOW = {
  BLOCK: 0,
  UNBLOCK: 1,
  SETMASK: 2,
} as const;

/** Flags of signalfd4. */
export const SFD = {
  CLOEXEC: 0x80000,
  NONBLOCK: 0x800,
} as const;

/** Kinds of id of waitid. */
export const P = {
  ALL: 0,
  PID: 1,
  PGID: 2,
  PIDFD: 3,
} as const;

/** Options of waitid. */
export const W = {
  NOHANG: 1,
  EXITED: 4,
  STOPPED: 2,
  CONTINUED: 8,
  NOWAIT: 0x1000000,
} as const;

/** `si_code` of an ended child. */
export const CLD = {
  EXITED: 1,
  KILLED: 2,
  DUMPED: 3,
  TRAPPED: 4,
  STOPPED: 5,
  CONTINUED: 6,
} as const;

/** Options of prctl. */
export const PR = {
  SET_PDEATHSIG: 1,
  SET_DUMPABLE: 4,
  SET_KEEPCAPS: 8,
  SET_NAME: 15,
  CAPBSET_READ: 23,
  CAPBSET_DROP: 24,
  SET_SECUREBITS: 28,
  SET_CHILD_SUBREAPER: 36,
  SET_NO_NEW_PRIVS: 38,
  CAP_AMBIENT: 47,
  CAP_AMBIENT_RAISE: 2,
  CAP_AMBIENT_CLEAR_ALL: 4,
  SET_THP_DISABLE: 41,
} as const;

/** Resources of prlimit64. */
export const RLIMIT = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  RSS: 5,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  AS: 9,
  LOCKS: 10,
  SIGPENDING: 11,
  MSGQUEUE: 12,
  NICE: 13,
  RTPRIO: 14,
  RTTIME: 15,
} as const;

/** Clocks. */
export const CLOCK = {
  REALTIME: 0,
  MONOTONIC: 1,
  PROCESS_CPUTIME_ID: 2,
  BOOTTIME: 7,
} as const;

/** Commands of reboot. */
export const RB = {
  AUTOBOOT: 0x1234567,
  HALT_SYSTEM: 0xcdef0123,
  POWER_OFF: 0x4321fedc,
  ENABLE_CAD: 0x89abcdef,
  DISABLE_CAD: 0,
} as const;

/** Requests of ioctl. */
export const IOCTL = {
  TIOCSCTTY: 0x540e,
  TIOCSWINSZ: 0x5414,
  TIOCGWINSZ: 0x5413,
  TIOCGPTN: 0x80045430,
  TIOCSPTLCK: 0x40045431,
  TIOCGPTPEER: 0x5441,
  TCGETS: 0x5401,
  TCSETS: 0x5402,
  FIONREAD: 0x541b,
  FIONBIO: 0x5421,
  RNDADDENTROPY: 0x40085203,
  RNDADDTOENTCNT: 0x40045201,
  RNDRESEEDCRNG: 0x5207,
  FIFREEZE: 0xc0045877,
  FITHAW: 0xc0045878,
  FITRIM: 0xc0185879,
  BLKGETSIZE64: 0x80081272,
  TUNSETIFF: 0x400454ca,
  TUNSETPERSIST: 0x400454cb,
  TUNSETOWNER: 0x400454cc,
  TUNGETIFF: 0x800454d2,
  VHOST_VSOCK_SET_GUEST_CID: 0x4008af60,
  SIOCGIFINDEX: 0x8933,
  SIOCGIFFLAGS: 0x8913,
  SIOCSIFFLAGS: 0x8914,
} as const;

/** Flags of interfaces and of taps. */
export const IFF = {
  UP: 1,
  LOOPBACK: 8,
  RUNNING: 64,
  PROMISC: 0x100,
  TUN: 1,
  TAP: 2,
  NO_PI: 0x1000,
  VNET_HDR: 0x4000,
  MULTI_QUEUE: 0x100,
} as const;

/** Fields of statx. */
export const STATX = {
  TYPE: 1,
  MODE: 2,
  NLINK: 4,
  UID: 8,
  GID: 16,
  ATIME: 32,
  MTIME: 64,
  CTIME: 128,
  INO: 0x100,
  SIZE: 0x200,
  BLOCKS: 0x400,
  BASIC_STATS: 0x7ff,
  BTIME: 0x800,
  MNT_ID: 0x1000,
} as const;

/** Actions of a libseccomp rule; the errno or trace value is in the low 16 bits. */
export const SCMP_ACT = {
  KILL_PROCESS: 0x80000000,
  KILL_THREAD: 0,
  TRAP: 0x30000,
  NOTIFY: 0x7fc00000,
  LOG: 0x7ffc0000,
  ALLOW: 0x7fff0000,
} as const;

/** Comparisons of a libseccomp argument. */
export const SCMP_CMP = {
  NE: 1,
  LT: 2,
  LE: 3,
  EQ: 4,
  GE: 5,
  GT: 6,
  MASKED_EQ: 7,
} as const;

/** Flag of umount2 that refuses symbolic links. */
export const UMOUNT = {
  NOFOLLOW: 8,
} as const;

/** Origins of lseek. */
export const SEEK = {
  SET: 0,
  CUR: 1,
  END: 2,
  DATA: 3,
  HOLE: 4,
} as const;
