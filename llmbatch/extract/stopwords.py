"""Function words by ISO 639-1 code: enough to tell languages apart and to end a key phrase."""

from __future__ import annotations

_BY_LANGUAGE = {
    "en": """
        a about after again against all also am an and any are as at be because been before being between but by can
        cannot cant could dear did didnt do does doesnt don done dont during each even every few for from get gets
        getting got had has have having he hello her here hers hey hi him his how however i if im in into is isnt it its
        ive just let like many may me might more most much must my new no nor not now of off on once one only or other
        our out over own please regards said same say says she should since so some still such than thank thanks that
        the their them then there these they this those through to too tried try two under until up upon us use used
        using very was we were what when where which while who whom why will with within without wont would yet you your
        yours
    """,
    "de": """
        aber als am an auch auf aus bei bin bis bitte da damit danke dann das dass dem den der des die dies diese dieser
        doch dort durch ein eine einem einen einer eines er es für gegen habe haben hallo hat hatte ich ihr im in ist ja
        kann kein keine können man mehr mein meine mich mir mit nach nicht noch nun nur ob oder ohne schon sehr sein
        seine seit sich sie sind so um und uns unser unter vom von vor war waren was weil wenn wer werden wie wir wird
        wo wurde wurden zu zum zur zwischen über
    """,
    "fr": """
        ai au aussi aux avec bonjour car ce cela ces cet cette comme dans de depuis des du elle elles en entre est et eu
        faire fait il ils je la le les leur leurs lui ma mais me merci mes moi mon même ne nos notre nous on ont ou où
        par pas plus pour qu quand que qui sa sans se selon ses si son sont sous sur ta tes tous tout très un une vos
        votre vous y été être
    """,
    "es": """
        al algo como con cual cuando de del desde donde dos el ella ellos en entre era es esa ese eso esta este esto
        estos está están fue gracias ha han hasta hay hola la las le les lo los me mi mis mucho muy más nada ni no nos o
        para pero por porque que quien se según ser si sin sobre son su sus también te tiene todo todos tras tu un una
        uno y ya yo
    """,
    "it": """
        ai al alla alle anche che chi ci ciao come con cui da dal dalla dei del della delle di dove e era gli grazie ha
        hanno i il in io la le lei lo loro ma mi mio ne negli nei nel nella noi non nostro o per perché più quando
        quella quello questa questo se si sono su sua sul sulla suo tra tutti un una uno è
    """,
    "pt": """
        ao aos as até com como da das de do dos e ela ele em entre era essa esse esta este está eu foi há isso já lhe
        mais mas me meu minha muito na nas no nos não o obrigado olá os ou para pela pelo por porque quando que quem se
        sem ser seu sua são também tem um uma você é
    """,
    "nl": """
        aan al als bij dan dat de der deze die dit door een en er geen haar heb hebben heeft het hij hoe ik in is je kan
        maar me meer met mijn na naar niet nog nu of om omdat onder ons ook op over te toch tot uit van veel voor waar
        wat we werd wij worden wordt zich zij zijn zo
    """,
    "pl": """
        aby ale bez być był co czy dla do gdy i ich ja jak jako jest jeśli już lub ma mam mnie może na nie niż o od oraz
        po pod przez przy się są tak także tego ten to tylko w we więc z za ze że
    """,
    "sv": """
        alla att av blev de den denna det dig din du där efter ej eller en ett från för ha han har hon hur i inte jag
        kan man med men mig min mot mycket ni nu när och om på sedan sig sin ska som så till under upp var vi vid är
    """,
    "tr": """
        ama ancak bana ben bir biz bu da daha de değil diye en gibi göre hem her ile ise için kadar ki mi mı ne olan
        olarak sonra ve veya ya çok şu
    """,
    "ru": """
        а без бы был была были было быть в вам вас весь во вот все вы где да для до его ее если есть же за и из или им
        их к как ко когда кто ли мне мы на над не него нет но о об он она они от по под при с со так также то только у
        уже что чтобы это этот я
    """,
    "uk": """
        а або але б без був була були в вже ви вона від він для до з за й його коли ми на не но ні о по при про та так
        також те ти то у це цей чи що щоб я як який є і із їх її
    """,
}

STOPWORDS: dict[str, frozenset[str]] = {code: frozenset(words.split()) for code, words in _BY_LANGUAGE.items()}
ALL_STOPWORDS = frozenset().union(*STOPWORDS.values())
