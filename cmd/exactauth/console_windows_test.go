package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// insideConsole says that this process has a console of its own.
const insideConsole = "EXACTAUTH_TEST_CONSOLE"

// inConsole runs "as" with these arguments in a new console, and ends with it. In that
// console it returns.
func inConsole(args []string) {
	if os.Getenv(insideConsole) != "" {
		return
	}
	code, err := runInConsole(append([]string{"as", "-console"}, args...))
	if err != nil {
		fmt.Fprintln(os.Stderr, "as:", err)
		code = 1
	}
	os.Exit(int(code))
}

func runInConsole(args []string) (code uint32, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := os.Setenv(insideConsole, "1"); err != nil {
		return 0, err
	}
	us, them := [2]windows.Handle{}, [2]windows.Handle{} // input, output
	if err := windows.CreatePipe(&them[0], &us[0], nil, 0); err != nil {
		return 0, err
	}
	if err := windows.CreatePipe(&us[1], &them[1], nil, 0); err != nil {
		return 0, err
	}
	var console windows.Handle
	if err := windows.CreatePseudoConsole(windows.Coord{X: 80, Y: 25}, them[0], them[1], 0, &console); err != nil {
		return 0, err
	}
	list, err := windows.NewProcThreadAttributeList(1)
	if err != nil {
		return 0, err
	}
	defer list.Delete()
	// The attribute's value is the handle itself.
	if err := list.Update(windows.PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, *(*unsafe.Pointer)(unsafe.Pointer(&console)), unsafe.Sizeof(console)); err != nil {
		return 0, err
	}
	start := windows.StartupInfoEx{ProcThreadAttributeList: list.List()}
	start.Cb = uint32(unsafe.Sizeof(start))
	path, err := windows.UTF16PtrFromString(self)
	if err != nil {
		return 0, err
	}
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(args))
	if err != nil {
		return 0, err
	}
	var p windows.ProcessInformation
	if err := windows.CreateProcess(path, line, nil, nil, false, windows.EXTENDED_STARTUPINFO_PRESENT, nil, nil, &start.StartupInfo, &p); err != nil {
		return 0, err
	}
	_ = windows.CloseHandle(them[1]) // so that its end is seen
	shown := io.Discard              // Wine's NUL cannot be truncated, so os.Create fails there
	if i := slices.Index(args, "-shown"); i >= 0 {
		f, err := os.Create(args[i+1] + ".shown")
		if err != nil {
			return 0, err
		}
		defer f.Close()
		shown = f
	}
	drained := make(chan struct{})
	go func() { // or the console stops
		defer close(drained)
		b := make([]byte, 4096)
		for n := uint32(0); windows.ReadFile(us[1], b, &n, nil) == nil; {
			_, _ = shown.Write(b[:n])
		}
	}()
	if _, err := windows.WaitForSingleObject(p.Process, windows.INFINITE); err != nil {
		return 0, err
	}
	if err := windows.GetExitCodeProcess(p.Process, &code); err != nil {
		return 0, err
	}
	windows.ClosePseudoConsole(console)
	select {
	case <-drained:
	case <-time.After(5 * time.Second): // another process may have the console
	}
	return code, nil
}

// consoleEvents are what "signal NAME EVENT" can send to a program in a console.
var consoleEvents = map[string]uintptr{"INT": windows.CTRL_C_EVENT, "BREAK": windows.CTRL_BREAK_EVENT,
	"CLOSE": windows.CTRL_CLOSE_EVENT, "LOGOFF": windows.CTRL_LOGOFF_EVENT, "SHUTDOWN": windows.CTRL_SHUTDOWN_EVENT}

// pressKeys sends the console event in each line of NAME.keys: Ctrl-C to all processes of this process's own console,
// the others to the program alone. Without such a console it returns false.
func pressKeys(name string, program *os.Process) bool {
	if os.Getenv(insideConsole) == "" {
		return false
	}
	for done := 0; ; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(name + ".keys") // there may be none yet
		for ; done < bytes.Count(b, []byte("\n")); done++ {
			event := consoleEvents[string(bytes.Split(b, []byte("\n"))[done])]
			var err error
			if event == windows.CTRL_C_EVENT {
				err = windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0)
			} else {
				err = program.WithHandle(func(h uintptr) { tell(windows.Handle(h), event) })
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "as:", err)
			}
		}
	}
}

// tell does what Windows does at Ctrl-Break, when a console is closed, at logoff and shutdown: it begins a thread in the
// program that calls the program's handlers. After the last three Windows ends the program in a few seconds, which this
// does not. Wine's own console sends no Ctrl-Break, and when it is closed it ends its programs without calling them. The
// routine has the same address in each process.
func tell(program windows.Handle, event uintptr) {
	routine := windows.NewLazySystemDLL("kernelbase.dll").NewProc("CtrlRoutine").Addr()
	create := windows.NewLazySystemDLL("kernel32.dll").NewProc("CreateRemoteThread")
	if thread, _, err := create.Call(uintptr(program), 0, 0, routine, event, 0, 0); thread == 0 {
		fmt.Fprintln(os.Stderr, "as: CreateRemoteThread:", err)
	} else {
		if event == windows.CTRL_BREAK_EVENT { // the handlers return: the next event cannot overtake it
			_, _ = windows.WaitForSingleObject(windows.Handle(thread), 10_000)
		}
		_ = windows.CloseHandle(windows.Handle(thread))
	}
}
