
__exactauth_init_completion()
{
    local i blanks line=${COMP_LINE:0:$COMP_POINT}
    words=() cword=-1
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blanks=${line%%[![:blank:]]*}
        if ((i == 0)) || [[ -n $blanks ]]; then
            ((++cword))
        fi
        line=${line#"$blanks"}
        if ((i == COMP_CWORD)); then
            words[cword]=${words[cword]-}$line
        else
            words[cword]=${words[cword]-}${COMP_WORDS[i]}
            line=${line#"${COMP_WORDS[i]}"}
        fi
    done
    cur=${words[cword]}
    prev=
    if ((cword > 0)); then
        prev=${words[cword - 1]}
    fi
}
