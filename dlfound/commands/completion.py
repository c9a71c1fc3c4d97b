"""`dlfound completion`: the script that makes a shell complete words, and the answers for the script."""

import argparse

from dlfound.commands.completion_words import Answer, complete
from dlfound.errors import Code, Error, printable

SUMMARY = "print the script that makes your shell complete words"
EXAMPLES = """\
examples:
  eval "$(dlfound completion bash)"         in ~/.bashrc
  eval "$(dlfound completion zsh)"          in ~/.zshrc
  dlfound completion fish | source          in ~/.config/fish/config.fish
  dlfound completion --line 'dlfound tr'    the words that fit, as the script asks for them
"""

# Each script passes the line up to the cursor to dlfound. The first line of the answer says what the shell
# completes itself if no word follows; each other line is a word, a tab and its meaning.

BASH = r"""# Completion of dlfound for bash (4 or newer). This line in ~/.bashrc installs it:
#   eval "$(dlfound completion bash)"

_dlfound() {
    local line=${COMP_LINE:0:COMP_POINT} otherwise= word= plain='*([[:alnum:]_.,:=+/@%[]|-|])'
    local raw=${line##*[[:space:]]}
    local head=${raw%"${raw##*["$COMP_WORDBREAKS"]}"}  # is not replaced: bash splits words at = and : too
    COMPREPLY=()
    {
        read -r otherwise
        while IFS=$'\t' read -r word _; do
            word=${word#"${head//[\'\"]/}"}
            [[ ${line%"$2"} == *[\'\"] || $word == $plain ]] || printf -v word %q "$word"
            COMPREPLY+=("$word")
        done
    } < <("${1/#\~/$HOME}" completion --line="$line" 2>/dev/null)
    case ${COMPREPLY[0]-}:$otherwise in
        *[=.]:*) compopt -o nospace ;;
        :files) compopt -o default ;;
        :folders) compopt -o dirnames ;;
    esac
}
complete -F _dlfound dlfound
"""

ZSH = r"""# Completion of dlfound for zsh. This line in ~/.zshrc installs it:
#   eval "$(dlfound completion zsh)"

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }

_dlfound() {
    local line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" program=${(Q)words[1]} otherwise word text
    local -a open closed
    {
        read -r otherwise
        while IFS=$'\t' read -r word text; do
            [[ $PREFIX == *=* ]] && word=${word#*=}
            text=${word//:/\\:}${text:+:$text}
            [[ $word == *(=|.) ]] && open+=($text) || closed+=($text)
        done
    } < <(${program/#\~/$HOME} completion --line=$line 2>/dev/null)
    compset -P 1 '*='
    if (( $#open + $#closed )); then
        _describe word closed -- open -S ''
    elif [[ $otherwise == files ]]; then
        _files
    elif [[ $otherwise == folders ]]; then
        _files -/
    fi
}
compdef _dlfound dlfound
"""

FISH = r"""# Completion of dlfound for fish. This line in ~/.config/fish/config.fish installs it:
#   dlfound completion fish | source

function __dlfound_words
    set -l program (commandline -opc | string replace -r '^~/' $HOME/)[1]
    type -q $program; or return
    set -l answer ($program completion --line=(commandline -cp | string collect) 2>/dev/null)
    if set -q answer[2]
        printf '%s\n' $answer[2..]
        return
    end
    set -l head (commandline -ct | string match -r '^.*=')
    set -l rest (commandline -ct | string replace -r '^.*=' '')
    switch "$answer"
        case files
            printf '%s\n' "$head"(complete -C "'' $rest")
        case folders
            printf '%s\n' "$head"(__fish_complete_directories $rest)
    end
end
complete -c dlfound -f -a '(__dlfound_words)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("shell", nargs="?", choices=SCRIPTS, metavar="SHELL", help=" or ".join(SCRIPTS))
    parser.add_argument("--line", help="print the words that may end this command line, not a script")


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if args.line is not None:
        print(_answer(args))
    elif args.shell is not None:
        print(SCRIPTS[args.shell], end="")
    else:
        raise Error("no shell is named", f"write dlfound completion {' or '.join(SCRIPTS)}", Code.CONFIG)
    return Code.DONE


def _answer(args: argparse.Namespace) -> str:
    """The answer in the form that the scripts read."""
    try:
        answer = complete(args.line, args.parsers)
    except Error:  # a broken folder of options: reported when the command runs
        answer = Answer()
    words = [f"{word}\t{printable(meaning)}" for word, meaning in answer.words.items()]
    return "\n".join([answer.otherwise, *words])
