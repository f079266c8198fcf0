// The founding design: a Go server that runs each request in a fresh gopher-lua state with the safe libraries, from a
// prototype that was compiled once.
package main

import (
	"encoding/json"
	"fmt"
	"io/ioutil"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// Usage: founding ADDRESS RULE-FILE THREADS
func main() {
	threads, err := strconv.Atoi(os.Args[3])
	check(err)
	runtime.GOMAXPROCS(threads)
	proto, err := compile(os.Args[2])
	check(err)
	http.HandleFunc("/rule", func(answer http.ResponseWriter, request *http.Request) {
		body, err := ioutil.ReadAll(request.Body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := run(proto, body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
		answer.Header().Set("Content-Type", "application/json")
		answer.Write(result)
	})
	check(http.ListenAndServe(os.Args[1], nil))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func compile(file string) (*lua.FunctionProto, error) {
	source, err := ioutil.ReadFile(file)
	if err != nil {
		return nil, err
	}
	chunk, err := parse.Parse(strings.NewReader(string(source)), file)
	if err != nil {
		return nil, err
	}
	return lua.Compile(chunk, file)
}

func run(proto *lua.FunctionProto, body []byte) ([]byte, error) {
	var input interface{}
	if err := json.Unmarshal(body, &input); err != nil {
		return nil, err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	libraries := map[string]lua.LGFunction{
		lua.TabLibName:    lua.OpenTable,
		lua.StringLibName: lua.OpenString,
		lua.MathLibName:   lua.OpenMath,
	}
	open(state, "", lua.OpenBase)
	for name, library := range libraries {
		open(state, name, library)
	}

	// Debian's gopher-lua is from before NewFunctionFromProto.
	upvalues := make([]*lua.Upvalue, int(proto.NumUpvalues))
	state.Push(&lua.LFunction{Env: state.Env, Proto: proto, Upvalues: upvalues})
	if err := state.PCall(0, 1, nil); err != nil {
		return nil, err
	}
	state.Push(toLua(state, input))
	if err := state.PCall(1, 1, nil); err != nil {
		return nil, err
	}
	return json.Marshal(toGo(state.Get(-1)))
}

func open(state *lua.LState, name string, library lua.LGFunction) {
	state.Push(state.NewFunction(library))
	state.Push(lua.LString(name))
	state.Call(1, 0)
}

func toLua(state *lua.LState, value interface{}) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []interface{}:
		table := state.CreateTable(len(value), 0)
		for _, element := range value {
			table.Append(toLua(state, element))
		}
		return table
	case map[string]interface{}:
		table := state.CreateTable(0, len(value))
		for name, field := range value {
			table.RawSetString(name, toLua(state, field))
		}
		return table
	}
	return lua.LNil
}

func toGo(value lua.LValue) interface{} {
	switch value := value.(type) {
	case lua.LBool:
		return bool(value)
	case lua.LNumber:
		return float64(value)
	case lua.LString:
		return string(value)
	case *lua.LTable:
		if length := value.Len(); length > 0 {
			elements := make([]interface{}, 0, length)
			for index := 1; index <= length; index++ {
				elements = append(elements, toGo(value.RawGetInt(index)))
			}
			return elements
		}
		fields := map[string]interface{}{}
		value.ForEach(func(name, field lua.LValue) { fields[name.String()] = toGo(field) })
		return fields
	}
	return nil
}
